"""A connection to the database: transactions, there as a whole or not at all, and errors that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from optimizer.errors import StorageError
from optimizer.store.commits import is_committed, leave_token
from optimizer.store.engines import WRITES, make_engine
from optimizer.store.failures import DatabaseAway, storage_error
from optimizer.store.location import shown
from optimizer.store.migrate import migrate
from optimizer.store.patience import Patience


class Database:
    """Opens one database, brings its schema up to date, and gives transactions on it."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.location = shown(url)
        self.patience = Patience()
        self._engine = make_engine(url)
        self._writing_engine = self._engine.execution_options(**{WRITES: True})
        if self.dialect == "postgresql":  # SQLite's every transaction sees one state
            self._engine = self._engine.execution_options(isolation_level="REPEATABLE READ")
        try:
            with self._errors():
                self.revision_before = migrate(self._engine, self._writing_engine, self.location)
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
        """All of it, or nothing. On SQLite it holds the write lock from its first statement.

        Raises StorageError when the database cannot take it; DatabaseAway when it may be tried again.
        """
        with self._errors(), Session(self._writing_engine, expire_on_commit=False) as session:
            yield session
            token = leave_token(session)
            try:
                session.commit()
            except DBAPIError as error:
                session.close()
                if token is None or not self._is_committed(token, error):
                    raise

    def _is_committed(self, token: str, error: DBAPIError) -> bool:
        """After a commit that failed. Waits for a server that is away."""
        if not isinstance(storage_error(self.location, error), DatabaseAway):
            return False  # the server said so

        def look_up() -> bool:
            with self._errors(), Session(self._writing_engine) as session:
                return is_committed(session, token)

        try:
            return self.patience.keep_trying(look_up)
        except StorageError as away:
            raise StorageError(f"{away} Whether the last write was kept is not known.") from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise storage_error(self.location, error) from error
        except PoolTimeoutError as error:
            raise DatabaseAway(
                f"Database {self.location}: no free connection. Too many threads use one store."
            ) from error
