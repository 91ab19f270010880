"""What is PostgreSQL's alone: how it is opened and refused, its schema, and threads and processes on one server."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from psycopg import sql
from sqlalchemy import create_engine

from optimizer.errors import StorageError
from optimizer.store import Store, TrialOutcome, migrate
from optimizer.store.location import database_url
from optimizer.store.schema import VERSION_TABLE, Table
from tests.postgres import PASSWORD, PrivateServer
from tests.store.studies import new_study

pytestmark = pytest.mark.long


@pytest.fixture
def url(server: PrivateServer) -> str:
    return server.new_database()


def _name(url: str) -> str:
    return url.rsplit("/", 1)[1]


def test_alembic_finds_nothing_to_change(url: str) -> None:
    Store.open(url).close()
    engine = create_engine(database_url(url))
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Table.metadata) == []
    engine.dispose()


def test_column_types(server: PrivateServer, url: str) -> None:
    Store.open(url).close()
    asked = "SELECT DISTINCT data_type FROM information_schema.columns WHERE table_schema = 'public'"
    types = {kind for (kind,) in server.execute(asked, _name(url))}
    assert types == {"bigint", "integer", "double precision", "character varying", "jsonb", "bytea"}


def test_limits_of_a_connection(url: str) -> None:
    with Store.open(url) as store, store.reading() as session:
        connection = session.connection()
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "40s"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
    with Store.open(url) as store, store.writing() as session:
        assert session.connection().exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"


def _refusals(server: PrivateServer) -> Iterator[tuple[str, str]]:
    yield server.url("nobody_made_it"), "no such database on the server. Make it: createdb"
    yield server.url(password="wrong"), "refuses user or password"
    yield server.url(password=None), "refuses user or password.*PGPASSWORD"
    yield server.url(port=1), r"does not answer\. Start it"
    yield "postgresql://user@no.such.host.invalid/name", "host name is not known"
    yield server.url() + "?sslmode=require", "sslmode"


def test_refusals_name_a_way_out_and_no_password(server: PrivateServer) -> None:
    for url, way_out in _refusals(server):
        with pytest.raises(StorageError, match=way_out) as raised:
            Store.open(url)
        assert PASSWORD not in str(raised.value)
        assert "wrong" not in str(raised.value)


def test_a_database_that_is_not_ours_to_write_in(server: PrivateServer, url: str) -> None:
    server.execute("DROP ROLE IF EXISTS guest")
    server.execute(sql.SQL("CREATE ROLE guest LOGIN PASSWORD {}").format(PASSWORD))
    guest = url.replace("layerquant:", "guest:")
    with pytest.raises(StorageError, match=r"may not do that.*ALTER DATABASE"):
        Store.open(guest)
    Store.open(url).close()
    server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest", _name(url))
    with Store.open(guest) as store:
        assert store.studies() == []
        with pytest.raises(StorageError, match="may not do that"):
            new_study(store)
    server.execute("DROP OWNED BY guest", _name(url))


def test_a_read_only_database(server: PrivateServer, url: str) -> None:
    Store.open(url).close()
    server.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(_name(url)))
    )
    with Store.open(url) as store, pytest.raises(StorageError, match="read-only"):
        new_study(store)


def test_a_server_that_is_too_old(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_POSTGRESQL", 99)
    with pytest.raises(StorageError, match=r"its server is PostgreSQL [\d.]+, and 99 is the oldest"):
        Store.open(url)


def test_another_programs_database(server: PrivateServer, url: str) -> None:
    server.execute("CREATE TABLE studies (study_id integer)", _name(url))
    with pytest.raises(StorageError, match="belongs to another program"):
        Store.open(url)


def test_processes_that_open_a_new_database_at_once(url: str) -> None:
    script = "import sys; from optimizer.store import Store; Store.open(sys.argv[1]).close()"
    opening = [subprocess.Popen([sys.executable, "-c", script, url], stderr=subprocess.PIPE) for _ in range(4)]
    for process in opening:
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    with Store.open(url) as store:
        assert store.studies() == []


def test_text_that_postgresql_does_not_take_is_kept_as_far_as_it_goes(url: str) -> None:
    with Store.open(url) as store:
        study = new_study(store)
        trial = study.start(params={"a\0": "\ud83d"})
        ended = store.finish_trial(study.lease, trial.id, TrialOutcome("failed", error="abort\0 \udcff"))
        assert ended.error == "abort\ufffd ?"
        assert ended.params == {"a\ufffd": "\ufffd"}
