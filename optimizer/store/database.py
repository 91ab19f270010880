"""A connection to the database: transactions, and errors that say what to do.

SQLite: write-ahead log (readers never wait for the writer), a busy timeout, foreign keys, and `BEGIN IMMEDIATE` for
every transaction that writes, so that two processes queue instead of failing half-way.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from optimizer.errors import ConfigError, StorageError
from optimizer.store.columns import canonical_json
from optimizer.store.migrate import migrate

DATABASE_NAME = "layerquant.db"
BUSY_SECONDS = 60.0

_WRITES = "layerquant_writes"
_WAY_OUT = {
    sqlite3.SQLITE_READONLY: "it cannot be written to. Give a folder you may write in with --studies",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened or made. Check that its folder exists and is yours to write in",
    sqlite3.SQLITE_PERM: "access is refused. Check the file's owner and mode",
    sqlite3.SQLITE_NOTADB: "it is not a SQLite database. Move it away, or name another with --database",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Move it away (with its -wal and -shm files) and restore a copy, "
    "or save what can be read with `sqlite3 FILE .recover`",
    sqlite3.SQLITE_FULL: "the disk is full. Free some space and run the same command again",
    sqlite3.SQLITE_BUSY: f"another process kept it locked for {BUSY_SECONDS:.0f} s. Try again, or see who holds it",
    sqlite3.SQLITE_IOERR: "the disk reports an error in reading or writing it. Check the disk and its space",
}


class Database:
    """Opens one database, brings its schema up to date, and gives transactions on it."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.location = url.database or "" if url.get_backend_name() == "sqlite" else url.render_as_string()
        self._engine = _engine(url)
        self._writing_engine = self._engine.execution_options(**{_WRITES: True})
        try:
            with self._errors():
                migrate(self._engine, self._writing_engine, self.location)
        except BaseException:
            self.close()
            raise

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @property
    def folder(self) -> Path | None:
        """Where a SQLite file lies; None for a database server."""
        return Path(self.location).parent if self.dialect == "sqlite" else None

    def close(self) -> None:
        """Gives all connections back. The object may not be used afterwards."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One consistent view, whatever others write meanwhile."""
        with self._errors(), Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that holds the write lock from its first statement: all of it, or nothing.

        Raises StorageError when the database cannot take it.
        """
        with self._errors(), Session(self._writing_engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StorageError(_message(self.location, error.orig or error)) from error
        except PoolTimeoutError as error:
            raise StorageError(
                f"Database {self.location}: no free connection. Too many threads use one store"
            ) from error


def database_url(url_or_path: str | Path) -> URL:
    """A URL as given; a file path as SQLite; a folder as the `layerquant.db` in it, made when it is missing.

    Raises StorageError when the folder cannot be made, ConfigError for a URL that cannot be read.
    """
    text = str(url_or_path)
    if "://" in text:
        try:
            url = make_url(text)
        except ArgumentError as error:
            raise ConfigError(
                f"Database URL '{text}' cannot be read. Give one such as sqlite:///studies/my.db"
            ) from error
        if url.get_backend_name() != "sqlite":
            return url
        if url.database in (None, "", ":memory:"):
            raise ConfigError("A database in memory would lose the study. Give a file, such as sqlite:///studies/my.db")
        text = str(url.database)
    path = Path(text)
    if path.suffix == "" or path.is_dir():
        path = path / DATABASE_NAME
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"Folder {path.parent} cannot be made: {error.strerror}. Give another with --studies or --database."
        ) from error
    return URL.create("sqlite", database=str(path.resolve()))


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(url, json_serializer=canonical_json, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise StorageError(
                f"Database {url.render_as_string()}: the driver '{error.name}' is not installed. "
                "Install it, or leave --database away to use SQLite."
            ) from error
    engine = create_engine(
        url,
        json_serializer=canonical_json,
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
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _message(location: str, error: BaseException) -> str:
    code = getattr(error, "sqlite_errorcode", None)
    way_out = _WAY_OUT.get(code & 0xFF) if isinstance(code, int) else None
    return f"Database {location}: {way_out} ({error})." if way_out else f"Database {location}: {error}"
