"""How a database is named, and which of the driver's errors pass by themselves."""

import psycopg.errors
import pytest
from sqlalchemy.exc import DBAPIError

from optimizer.errors import ConfigError, StorageError
from optimizer.store.engines import _postgresql_json
from optimizer.store.failures import DatabaseAway, storage_error
from optimizer.store.location import database_url, shown


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_psycopg_3(scheme: str) -> None:
    url = database_url(f"{scheme}://user@host:5433/name?sslmode=require")
    assert (url.drivername, url.port, url.query["sslmode"]) == ("postgresql+psycopg", 5433, "require")
    assert shown(url) == "postgresql://user@host:5433/name?sslmode=require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:geheim@host/name",
        "postgresql://user:geheim%2F%40x@host/name",
        "postgres://host/name?user=user&password=geheim",
        "postgresql://host/name?sslpassword=geheim",
    ],
)
def test_a_password_is_not_shown(url: str) -> None:
    assert "geheim" not in shown(database_url(url))
    assert "***" in shown(database_url(url))


@pytest.mark.parametrize("url", ["postgresql://user:geheim@host:port/name", "postgresql:/x://u:geheim@/n"])
def test_a_password_in_a_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read") as raised:
        database_url(url)
    assert "geheim" not in str(raised.value)


def _of(error: psycopg.Error, *, lost: bool = False) -> StorageError:
    return storage_error("db", DBAPIError("SELECT 1", None, error, connection_invalidated=lost))


@pytest.mark.parametrize(
    ("error", "way_out"),
    [
        (psycopg.errors.DiskFull("could not extend file"), "disk is full. Free some space"),
        (psycopg.errors.ReadOnlySqlTransaction("cannot execute UPDATE"), "read-only.*primary"),
        (psycopg.errors.InsufficientPrivilege("permission denied for schema public"), "ALTER DATABASE"),
        (psycopg.errors.UndefinedTable("no such table"), "no such table"),
    ],
)
def test_errors_that_waiting_does_not_mend(error: psycopg.Error, way_out: str) -> None:
    made = _of(error)
    assert not isinstance(made, DatabaseAway)
    with pytest.raises(StorageError, match=way_out):
        raise made


@pytest.mark.parametrize(
    "error",
    [
        psycopg.errors.AdminShutdown("terminating connection"),
        psycopg.errors.CrashShutdown("terminating connection"),
        psycopg.errors.CannotConnectNow("starting up"),
        psycopg.errors.TooManyConnections("too many"),
        psycopg.errors.LockNotAvailable("canceling statement due to lock timeout"),
        psycopg.errors.ConnectionFailure("gone"),
        psycopg.errors.DeadlockDetected("deadlock detected"),
    ],
)
def test_errors_that_pass(error: psycopg.Error) -> None:
    made = _of(error)
    assert isinstance(made, DatabaseAway)
    assert made.conflict == isinstance(error, psycopg.errors.DeadlockDetected)


def test_a_lost_connection_passes_and_a_refusal_does_not() -> None:
    assert isinstance(_of(psycopg.OperationalError("server closed the connection"), lost=True), DatabaseAway)
    assert not isinstance(_of(psycopg.OperationalError("the statement was wrong")), DatabaseAway)
    refused = psycopg.OperationalError('connection failed: FATAL: password authentication failed for user "a"')
    assert not isinstance(_of(refused, lost=True), DatabaseAway)
    starting = psycopg.OperationalError("connection failed: FATAL: the database system is starting up")
    assert isinstance(_of(starting, lost=True), DatabaseAway)


def test_text_that_postgresql_does_not_take() -> None:
    made = _postgresql_json(["a\0b", "\ud83d", "\ude00x", "\ud83d\ude00", "C:\\u0000", "\\\0"])
    assert made == r'["a\ufffdb","\ufffd","\ufffdx","\ud83d\ude00","C:\\u0000","\\\ufffd"]'
