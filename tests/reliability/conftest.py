import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.processes import run
from tests.reliability.states import end_state, write_config

_MEMORY = Path("/dev/shm")
_NEEDED_BYTES = 400 * 2**20


@pytest.fixture(scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is room: what SIGKILL does to files does not depend on the disk below them."""
    if not _MEMORY.is_dir() or shutil.disk_usage(_MEMORY).free < _NEEDED_BYTES:
        yield tmp_path_factory.mktemp("reliability")
        return
    folder = Path(tempfile.mkdtemp(dir=_MEMORY, prefix="layerquant-test-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def place(memory: Path) -> Iterator[Path]:
    """An empty folder for one test."""
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def config(memory: Path) -> Path:
    return write_config(memory)


@pytest.fixture(scope="session")
def left_alone(memory: Path, config: Path) -> dict[str, Any]:
    """How the search ends when nothing goes wrong; its folder is `memory / "left_alone"`."""
    command = run(["search", config, "--studies", memory / "left_alone"], memory / "left_alone.log")
    assert command.process.exitcode == 0, command.output
    return end_state(memory / "left_alone")
