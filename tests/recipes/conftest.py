from pathlib import Path

import pytest

from optimizer.gguf import ModelFile
from optimizer.recipes import PresetTable, load_presets
from tests.models import header_only, tiny_model


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("presets")


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Qwen3, 16 layers of 256, rows that fit every type."""
    return ModelFile.open(tiny_model(tmp_path_factory.mktemp("dense"), "qwen3", n_layer=16, ffn=256))


@pytest.fixture(scope="session")
def dense_presets(dense: ModelFile, cache: Path) -> PresetTable:
    return load_presets(dense, cache_dir=cache)


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """Tied embeddings, BF16, ffn_down rows of 288: whole blocks of 32, not of 256."""
    folder = tmp_path_factory.mktemp("odd")
    return ModelFile.open(tiny_model(folder, "qwen3", n_layer=8, tied=True, ffn=288, tensor_type="BF16"))


@pytest.fixture(scope="session")
def odd_presets(odd: ModelFile, cache: Path) -> PresetTable:
    return load_presets(odd, cache_dir=cache)


@pytest.fixture(scope="session")
def experts(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return ModelFile.open(tiny_model(tmp_path_factory.mktemp("experts"), "qwen3moe", n_layer=8, ffn=256, experts=2))


@pytest.fixture(scope="session")
def experts_presets(experts: ModelFile, cache: Path) -> PresetTable:
    return load_presets(experts, cache_dir=cache)


@pytest.fixture(scope="session")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with header-only files of real models."""
    folder = tmp_path_factory.mktemp("headers")
    for name in ("qwq-32b", "qwen2.5-14b"):
        header_only(folder, name)
    for name in ("qwen3-14b", "llama-3.1-70b"):
        header_only(folder, name, n_vocab=2048)
    return folder
