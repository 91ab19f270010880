"""Small models with mixed recipes."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from optimizer.gguf import ModelFile
from optimizer.recipes.recipe import Recipe, complete_recipe
from tests.quantization.conftest import Subject, subject

__all__ = ["Subject", "contents", "mixed_recipe", "subject"]


@pytest.fixture(scope="session")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("dense"), n_layer=3)


def mixed_recipe(of: Subject, types: Sequence[str], seed: int = 0) -> Recipe:
    """A type at random for every quantizable tensor, fallbacks resolved."""
    choose = random.Random(seed)
    wanted = {name: choose.choice(types) for name in of.presets.quantizable}
    return complete_recipe(wanted, of.model, of.presets.quantizable).recipe


def contents(path: Path) -> list[tuple[str, str, bytes]]:
    """Name, type and bytes of every tensor of a file, in the file's order."""
    data = path.read_bytes()
    (header,) = ModelFile.open(path).headers
    return [(t.name, t.tensor_type, data[t.offset : t.offset + t.n_bytes]) for t in header.tensors]
