"""Brings a database to this version's schema, in one transaction, one process at a time."""

import threading
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from optimizer.errors import StorageError
from optimizer.store.engines import OLDEST_POSTGRESQL
from optimizer.store.schema import SCHEMA_REVISIONS, VERSION_TABLE

MIGRATIONS = Path(__file__).parent / "migrations"
ALEMBIC_LOCK = threading.Lock()
"""Held around whatever runs Alembic in this process, MLflow and Optuna included: its `op` is one per process."""

_POSTGRESQL_LOCK = 7_221_945_001
"""Any number that no other program takes for a lock."""


def migrate(reading: Engine, writing: Engine, location: str) -> str | None:
    """Checks the schema's revision and runs the migrations that lack. Cheap when none does.

    Returns the revision found; None in an empty database.
    Raises StorageError when the database is newer than this version, or another program's.
    """
    with reading.begin() as connection:
        _refuse_old_server(connection, location)
        before = _revision(connection, location)
        if before == SCHEMA_REVISIONS[-1]:
            return before
    with writing.begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's transaction holds the one write lock from its beginning
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})"))
        # Another process may have migrated while this one waited for the lock.
        if _revision(connection, location) != SCHEMA_REVISIONS[-1]:
            _upgrade(connection)
    return before


def _refuse_old_server(connection: Connection, location: str) -> None:
    version = connection.dialect.server_version_info or ()
    if connection.dialect.name == "postgresql" and version[:1] < (OLDEST_POSTGRESQL,):
        raise StorageError(
            f"Database {location}: its server is PostgreSQL {'.'.join(map(str, version))}, and {OLDEST_POSTGRESQL} is "
            "the oldest that will do. Update it, or name another with --database."
        )


def _revision(connection: Connection, location: str) -> str | None:
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE not in tables:
        if tables & {"studies", "trials", "experiments"}:
            raise StorageError(
                f"Database {location} belongs to another program (it has tables, but not layerquant's). "
                "Name another file with --database."
            )
        return None
    revision = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    if revision is not None and revision not in SCHEMA_REVISIONS:
        raise StorageError(
            f"Database {location} was written by a newer layerquant (its schema is {revision}, this version knows up "
            f"to {SCHEMA_REVISIONS[-1]}). Update layerquant, or name another file with --database."
        )
    return revision


def _upgrade(connection: Connection) -> None:
    # Imported here: Alembic takes a while, and all but the first start need none of it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    with ALEMBIC_LOCK:
        command.upgrade(config, "head")
