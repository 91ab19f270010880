"""`layerquant db`: brings a database to this version's schema, and copies one into another."""

from pathlib import Path
from typing import Annotated

import typer

from optimizer.commands.options import Database, Json, Studies
from optimizer.commands.shown import err, out, print_json
from optimizer.errors import StorageError
from optimizer.progress import TerminalReporter
from optimizer.store import Store
from optimizer.store.copying import copy_database
from optimizer.store.location import database_url
from optimizer.store.schema import SCHEMA_REVISIONS
from optimizer.workplace import DEFAULT_STUDIES

app = typer.Typer(help="The database of the studies: SQLite or PostgreSQL.", no_args_is_help=True)


@app.callback()
def db() -> None:
    """The database of the studies: SQLite or PostgreSQL."""


@app.command()
def upgrade(studies: Studies = DEFAULT_STUDIES, database: Database = None, as_json: Json = False) -> None:
    """Bring a database to this version's schema. Every command does so by itself; here it is done alone."""
    with _open_existing(database or str(studies)) as store:
        before, now = store.revision_before, SCHEMA_REVISIONS[-1]
        if as_json:
            print_json({"database": store.location, "before": before, "schema": now})
        elif before == now:
            out().print(f"{store.location} has this version's schema already ({now})", markup=False)
        else:
            out().print(f"{store.location}: schema {before or 'none'} -> {now}", markup=False)


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A URL, a SQLite file or a studies folder.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty database: a URL, a file or a folder.")],
    as_json: Json = False,
) -> None:
    """Copy all studies and results, row for row: all of it, or nothing. No study may be running."""
    reporter = TerminalReporter(err())
    try:
        with _open_existing(source) as reading, Store.open(target) as writing:
            rows = copy_database(reading, writing, reporter)
            shown = {"from": reading.location, "to": writing.location, "rows": rows}
    finally:
        reporter.close()
    if as_json:
        print_json(shown)
    else:
        out().print(f"copied {rows['studies']} studies, {rows['trials']} trials, {sum(rows.values())} rows in all")
        out().print(f"from {shown['from']} to {shown['to']}", markup=False, soft_wrap=True)


def _open_existing(name: str) -> Store:
    """Opening makes a SQLite file that is missing, which is not what is meant here."""
    if "://" not in name and not Path(name).exists():
        raise StorageError(f"{name}: there is no such database. Give a file, a studies folder or a URL.")
    url = database_url(name)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise StorageError(f"{url.database}: there is no such database. Give a file, a studies folder or a URL.")
    return Store.open(name)
