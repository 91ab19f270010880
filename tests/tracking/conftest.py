from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.store import Store
from tests.store.studies import Fixture, new_study


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Fixture]:
    with Store.open(tmp_path / "studies") as store:
        yield new_study(store)
