"""The migrations lead to the tables that the code works with."""

import re
import sqlite3
import subprocess
import sys
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from optimizer.store import Store
from optimizer.store.migrate import MIGRATIONS
from optimizer.store.schema import SCHEMA_REVISIONS, VERSION_TABLE, Table


def test_migrations_from_empty_equal_the_models(tmp_path: Path) -> None:
    Store.open(tmp_path / "migrated.db").close()
    engine = create_engine(f"sqlite:///{tmp_path / 'made.db'}")
    Table.metadata.create_all(engine)
    engine.dispose()
    migrated = _statements(tmp_path / "migrated.db")
    assert migrated.pop(VERSION_TABLE)
    assert migrated == _statements(tmp_path / "made.db")


def test_alembic_finds_nothing_to_change(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'layerquant.db'}")
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_every_revision_is_known_to_the_code() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(SCHEMA_REVISIONS)


def test_a_migration_that_was_cut_off_leaves_nothing(tmp_path: Path) -> None:
    """All tables come in one transaction: a store that finds some without a version would refuse them for ever."""
    Store.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "layerquant.db")
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection.close()
    path = tmp_path / "cut.db"
    script = """
import os, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from optimizer.store import Store
@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *rest):
    if "CREATE TABLE trials" in statement:
        os._exit(9)
Store.open(sys.argv[1])
"""
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    Store.open(path).close()
    connection = sqlite3.connect(path)
    again = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    connection.close()
    assert again == tables


def _statements(path: Path) -> dict[str, tuple[str, list[str]]]:
    """Of each table and index: its columns and constraints, whose order means nothing to the code."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    statements = {}
    for name, sql in found:
        head, body = re.sub(r"\s+", " ", sql).replace('"', "").split("(", 1)
        statements[name] = (head.strip(), sorted(_parts(body.rsplit(")", 1)[0])))
    return statements


def _parts(body: str) -> list[str]:
    """Split at the commas that stand in no brackets."""
    parts, depth = [""], 0
    for character in body:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
