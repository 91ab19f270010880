"""Small models, their presets, and a bank to put shards in."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import Imatrix, ShardBank
from optimizer.recipes.presets import PresetTable, load_presets
from tests.models import tiny_model


@dataclass(frozen=True)
class Subject:
    """A model with what quantizing it needs."""

    path: Path
    model: ModelFile
    presets: PresetTable


def subject(folder: Path, architecture: str = "qwen3", **options: object) -> Subject:
    path = tiny_model(folder, architecture, **options)  # type: ignore[arg-type]
    model = ModelFile.open(path)
    return Subject(path, model, load_presets(model, cache_dir=folder))


def importance_vectors(model: ModelFile, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Importance for every weight that could use it, spread over several orders of magnitude as real ones are."""
    random = np.random.default_rng(seed)
    return {
        tensor.name: np.exp(random.normal(0, 2, tensor.row_length * tensor.n_matrices)).astype(np.float32)
        for tensor in model.tensors
        if len(tensor.shape) > 1
    }


def imatrix_of(model: ModelFile, seed: int = 1) -> Imatrix:
    return Imatrix(Path("made-by-a-test.gguf"), importance_vectors(model, seed))


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("dense"), n_layer=2)


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("experts"), "qwen3moe", n_layer=1, ffn=256, experts=3)


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[ShardBank]:
    with ShardBank(tmp_path / "bank", threads=2) as bank:
        yield bank
