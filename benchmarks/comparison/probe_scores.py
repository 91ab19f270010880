"""The scores of a space's probes, kept from one job for the next: the same recipes on the same chunks."""

import shutil
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

DATABASE, REFERENCES = "layerquant.db", "references"
FORGOTTEN = ("claims", "outbox", "sensitivities", "trials", "studies")
"""Tables of what a search did; what was scored stays."""


def keep_probes(studies: Path, probes: Path, recipe_keys: Collection[str]) -> None:
    """Make `probes` of a finished job's folder: its scores of these recipes from before the first trial, and its
    references. Second probes, which depend on the budget, are no such recipes.
    """
    if probes.exists():
        return
    making = probes.with_name(f"{probes.name}.{studies.name}")
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(studies / REFERENCES, making / REFERENCES)
    with (
        closing(sqlite3.connect(studies / DATABASE)) as source,
        closing(sqlite3.connect(making / DATABASE)) as database,
        database,
    ):
        source.backup(database)
        database.execute("DELETE FROM evaluations WHERE created_at > (SELECT min(started_at) FROM trials)")
        kept = [row for row, key in database.execute("SELECT id, key FROM recipes") if key in recipe_keys]
        database.execute(f"DELETE FROM evaluations WHERE recipe_id NOT IN ({', '.join(map(str, kept))})")
        for table in FORGOTTEN:
            database.execute(f"DELETE FROM {table}")
    if not probes.exists():
        making.rename(probes)


def take_probes(probes: Path, studies: Path) -> int:
    """Begin a job's folder with them; the tokens that they took, 0 where none are kept yet."""
    if not probes.exists():
        return 0
    shutil.copytree(probes, studies)
    with closing(sqlite3.connect(studies / DATABASE)) as database:
        (tokens,) = database.execute("SELECT coalesce(sum(tokens), 0) FROM evaluations").fetchone()
    return int(tokens)
