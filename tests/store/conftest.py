from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.store import Store
from tests.store.studies import Fixture, new_study


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def study(store: Store) -> Fixture:
    return new_study(store)
