"""How SQLite and PostgreSQL are opened.

SQLite: write-ahead log (readers never wait for the writer), a busy timeout, foreign keys, and `BEGIN IMMEDIATE` for
every transaction that writes, so that two processes queue instead of failing half-way.
PostgreSQL: limits to every wait, so that a dead connection or a lock that nobody gives back is an error, not silence.
"""

import re
import sqlite3
import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection

from optimizer.errors import StorageError
from optimizer.store.columns import canonical_json
from optimizer.store.failures import BUSY_SECONDS
from optimizer.store.location import shown

if TYPE_CHECKING:
    import psycopg

WRITES = "layerquant_writes"
OLDEST_POSTGRESQL = 13
CONNECT_SECONDS = 10
LOCK_SECONDS = 40
SILENCE_SECONDS = 60.0
"""Longer than any statement of the store takes, and longer than LOCK_SECONDS, which the server counts itself."""

_ESCAPES = re.compile(
    r"\\\\|(\\u0000|\\ud[89ab][0-9a-f]{2}(?!\\ud[c-f])|(?<!\\ud[89ab][0-9a-f]{2})\\ud[c-f][0-9a-f]{2})"
)


def make_engine(url: URL) -> Engine:
    """Raises StorageError when the driver is not installed. Connects to nothing yet."""
    if url.get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    try:
        return _postgresql_engine(url) if url.get_backend_name() == "postgresql" else create_engine(url)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"Database {shown(url)}: the driver '{error.name}' is not installed. "
            "Install it, or leave --database away to use SQLite."
        ) from error


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=canonical_json,
        # Writers queue at SQLite's own lock, for BUSY_SECONDS; a thread must not fail for want of a connection before.
        max_overflow=-1,
        connect_args={"timeout": BUSY_SECONDS, "isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # A night's results outlive a power cut too; a commit costs one fsync, a trial takes seconds.
    connection.execute("PRAGMA synchronous = FULL")
    _use_write_ahead_log(connection)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Retries: switching the journal fails at once, not after the busy timeout, when another process does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _begin_sqlite(connection: Connection) -> None:
    # Python's own driver would begin late and deferred: a read that turns into a write can then fail as "locked".
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        json_serializer=_postgresql_json,
        pool_pre_ping=True,  # a connection that a restart of the server left behind is replaced unseen
        pool_size=5,
        max_overflow=15,
        pool_timeout=2 * SILENCE_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": 15,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "application_name": "layerquant",
        },
    )
    if engine.dialect.driver == "psycopg":
        event.listen(engine, "do_connect", _connect_postgresql)
    event.listen(engine, "connect", _prepare_postgresql)
    return engine


def _connect_postgresql(dialect: Any, record: Any, arguments: Any, options: Any) -> "psycopg.Connection[Any]":
    from optimizer.store.limited_connection import LimitedConnection  # psycopg takes a while, and SQLite needs none

    return LimitedConnection.connect(*arguments, **options)


def _prepare_postgresql(connection: Any, record: Any) -> None:
    limits = {
        "lock_timeout": f"{LOCK_SECONDS}s",
        # The server's side of a connection that was lost in the middle of a transaction gives its locks back.
        "idle_in_transaction_session_timeout": f"{SILENCE_SECONDS:.0f}s",
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
    }
    connection.execute("; ".join(f"SET {name} = '{value}'" for name, value in limits.items()))
    connection.commit()


def _postgresql_json(value: Any) -> str:
    """PostgreSQL's text knows neither NUL nor half a surrogate pair, which an answer may hold: U+FFFD instead."""
    return _ESCAPES.sub(lambda found: r"\ufffd" if found[1] else found[0], canonical_json(value))
