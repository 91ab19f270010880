"""The lab of docker-compose.yml on this machine, over a private PostgreSQL."""

from collections.abc import Iterator

import pytest

from tests.deployment.lab import Lab
from tests.postgres import private_server


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with private_server() as server, Lab(tmp_path_factory.mktemp("lab"), server) as made:
        yield made
