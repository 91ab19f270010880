"""One database into another, row for row: all of it, or nothing.

The source is read in one view, so a copy made while others write is whole. Memory holds one batch of rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, func, select
from sqlalchemy.orm import Session

from optimizer.errors import StudyError
from optimizer.progress import Reporter
from optimizer.store.columns import CompressedJson, database_now, plain_text
from optimizer.store.database import Database
from optimizer.store.leases import living_holder
from optimizer.store.schema import Commit, Study, Table

BATCH_ROWS = 200
"""Rows hold up to some hundred kB of answers each."""


def copy_database(source: Database, target: Database, reporter: Reporter) -> dict[str, int]:
    """Table -> rows copied. Waits for nothing: a server that goes away ends it, and the target stays empty.

    Raises StudyError when a study of the source is being searched, or the target has any row.
    """
    if source.url == target.url:
        raise StudyError(f"{source.location} cannot be copied onto itself.")
    tables = [table for table in Table.metadata.sorted_tables if table is not Commit.__table__]
    with source.reading() as reading, target.writing() as writing:
        _refuse_running(reading, source.location)
        if target.dialect == "postgresql":  # SQLite's transaction is the only one that writes already
            writing.execute(sa.text("LOCK TABLE studies, models IN EXCLUSIVE MODE"))
        _refuse_filled(writing, tables, target.location)
        copied = {}
        for table in tables:
            total = reading.scalar(select(func.count()).select_from(table)) or 0
            reporter.phase(f"copying {table.name}", total)
            copied[table.name] = _copy_table(reading.connection(), writing.connection(), table, reporter)
            if target.dialect == "postgresql" and "id" in table.c:
                _continue_numbering(writing, table)
    return copied


def _copy_table(reading: Connection, writing: Connection, table: sa.Table, reporter: Reporter) -> int:
    plain = _plain(table)
    clean = writing.dialect.name == "postgresql"
    done = 0
    for batch in _batches(reading, plain, [column.name for column in table.primary_key]):
        rows = [_writable(row) for row in batch] if clean else batch
        writing.execute(sa.insert(plain), rows)
        done += len(rows)
        reporter.advance(done)
    return done


def _plain(table: sa.Table) -> sa.TableClause:
    """The table with its compressed columns as bytes: what is not looked into need not be unpacked."""
    columns = [
        sa.column(each.name, sa.LargeBinary() if isinstance(each.type, CompressedJson) else each.type)
        for each in table.columns
    ]
    return sa.table(table.name, *columns)


def _batches(reading: Connection, plain: sa.TableClause, order: Sequence[str]) -> Iterator[Sequence[dict[str, Any]]]:
    streamed = reading.execution_options(stream_results=True, yield_per=BATCH_ROWS)
    with streamed.execute(select(plain).order_by(*(plain.c[name] for name in order))) as result:
        for partition in result.mappings().partitions():
            yield [dict(row) for row in partition]


def _writable(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain_text(value) if isinstance(value, str) else value for name, value in row.items()}


def _continue_numbering(session: Session, table: sa.Table) -> None:
    """Rows came with their ids, of which the server's own counter knows nothing."""
    last = session.scalar(select(func.max(table.c.id)))
    if last is not None:
        session.execute(select(func.setval(func.pg_get_serial_sequence(table.name, "id"), last)))


def _refuse_running(session: Session, location: str) -> None:
    now = session.scalar(select(database_now())) or 0.0
    for study in session.scalars(select(Study)):
        holder = living_holder(study, now)
        if holder is not None:
            raise StudyError(
                f"Study '{study.name}' in {location} is being searched by {holder}, and a copy would miss what it "
                f"finds. Stop it first: layerquant stop {study.name}"
            )


def _refuse_filled(session: Session, tables: Sequence[sa.Table], location: str) -> None:
    for table in tables:
        rows = session.scalar(select(func.count()).select_from(table)) or 0
        if rows:
            raise StudyError(
                f"Database {location} is not empty: its table {table.name} has {rows} rows. Name an empty one; "
                "nothing is ever overwritten."
            )
