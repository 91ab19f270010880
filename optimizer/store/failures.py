"""Errors of the database in words that say what to do, and which of them pass when one waits."""

import re
import sqlite3

from sqlalchemy.exc import DBAPIError

from optimizer.errors import StorageError

BUSY_SECONDS = 60.0
"""How long a transaction of SQLite waits for the one that writes."""


class DatabaseAway(StorageError):
    """The database cannot be reached at the moment, or another transaction is in the way. Nothing was written."""

    def __init__(self, message: str, *, conflict: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict
        """Two transactions were in each other's way: the same one again will do, at once."""


_SQLITE = {
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
_POSTGRESQL = {
    "25006": "it is read-only: a standby, or set so. Name the primary server with --database",
    "42501": "this user may not do that. As the database's owner: ALTER DATABASE name OWNER TO user",
    "53100": "the server's disk is full. Free some space there and run the same command again",
    "53200": "the server is out of memory. Run the same command again when it has some",
    "53300": "the server takes no more connections. Close some, or raise its max_connections",
    "55P03": "another process keeps it locked. Try again, or see who holds it in pg_stat_activity",
    "XX001": "a table is damaged (the server says). Restore a copy",
    "XX002": "an index is damaged (the server says). Run REINDEX DATABASE there",
}
"""By SQLSTATE, appendix A of PostgreSQL's manual."""
_CONFLICTS = {"40001", "40P01"}
_PASSING = {"53300", "55P03", "57P01", "57P02", "57P03", "57P05", "25P03", *_CONFLICTS}

_REFUSALS = (
    (r"password authentication failed|no password supplied|fe_sendauth", "the server refuses user or password. "
     "Give them as postgresql://user:password@host/name, or keep the password in PGPASSWORD or ~/.pgpass"),
    (r'database ".*" does not exist', "there is no such database on the server. Make it: createdb -O user name"),
    (r'role ".*" does not exist', "the server knows no such user. Make it: createuser --pwprompt user"),
    (r"no pg_hba\.conf entry|SSL.*(required|not support)|certificate", "the server does not let this host or user in. "
     "Add them to its pg_hba.conf, or set sslmode in the URL"),
    (r"closed the connection|terminating connection|broken", "the connection to the server broke off"),
    (r"could not translate host name|[Nn]ame or service not known|resolve host",
     "its host name is not known. Check it in --database"),
    (r"Connection refused|timeout expired|timed out|[Nn]o route|unreachable|No such file",
     "the server does not answer. Start it, or check host and port in --database"),
    (r"starting up|shutting down|recovery mode|not yet accepting", "the server starts or stops. Try again soon"),
    (r"too many clients|connection slots", _POSTGRESQL["53300"]),
)  # fmt: skip
"""A connection that fails carries no SQLSTATE, only the server's words."""
_ANSWERED = re.compile(
    r"FATAL|fe_sendauth|no password supplied|does not support SSL|invalid (connection|URI|sslmode|port|integer)"
)
_ANSWERED_BUT_PASSING = re.compile(
    r"(start|shutt)ing (up|down)|recovery mode|not yet accepting|too many clients|connection slots|terminating conn"
)


def storage_error(location: str, error: DBAPIError) -> StorageError:
    """The error to raise in place of the driver's: DatabaseAway where waiting may help."""
    cause = error.orig or error
    code = getattr(cause, "sqlite_errorcode", None)
    if isinstance(code, int):
        way_out = _SQLITE.get(code & 0xFF)
        passing = code & 0xFF == sqlite3.SQLITE_BUSY
    else:
        state = getattr(cause, "sqlstate", None)
        way_out = _POSTGRESQL.get(state or "") or _of_refusal(str(cause))
        passing = _is_passing(state, str(cause), lost=error.connection_invalidated or _is_connecting(error))
        if state in _CONFLICTS:
            return DatabaseAway(_message(location, way_out, cause), conflict=True)
    message = _message(location, way_out, cause)
    return DatabaseAway(message) if passing else StorageError(message)


def _of_refusal(text: str) -> str | None:
    return next((way_out for pattern, way_out in _REFUSALS if re.search(pattern, text)), None)


def _is_connecting(error: DBAPIError) -> bool:
    """There is no statement yet, and the server gave no answer that would carry a code."""
    return error.statement is None and type(error.orig).__name__ in {"OperationalError", "ConnectionTimeout"}


def _is_passing(state: str | None, text: str, *, lost: bool) -> bool:
    if state is not None:
        return state in _PASSING or state.startswith("08")
    if _ANSWERED.search(text):
        return _ANSWERED_BUT_PASSING.search(text) is not None
    return lost


def _message(location: str, way_out: str | None, error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"Database {location}: {way_out} ({said})." if way_out else f"Database {location}: {said}"
