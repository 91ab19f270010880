"""Stores on SQLite, and, in the long tests, the same tests on a PostgreSQL of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.store import Store
from tests.postgres import PrivateServer, private_server
from tests.store.studies import Fixture, new_study


@pytest.fixture(scope="session")
def server() -> Iterator[PrivateServer]:
    with private_server() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """What `--database` would be given: a new, empty database."""
    if request.param == "sqlite":
        return str(tmp_path / "layerquant.db")
    running: PrivateServer = request.getfixturevalue("server")
    return running.new_database()


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    with Store.open(database) as opened:
        yield opened


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> Fixture:
    return new_study(store)
