"""The committed model and texts, read through llama.cpp's vocabulary."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp
import pytest

from demo.corpus import FOLDER

MODEL = FOLDER / "model" / "demo-F16.gguf"


@pytest.fixture(scope="module")
def tokenize() -> Iterator[Callable[[str], list[int]]]:
    parameters = llama_cpp.llama_model_default_params()
    parameters.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(MODEL).encode(), parameters)
    vocabulary = llama_cpp.llama_model_get_vocab(model)

    def run(text: str) -> list[int]:
        encoded = text.encode()
        tokens = (ctypes.c_int32 * (len(encoded) + 8))()
        count = llama_cpp.llama_tokenize(vocabulary, encoded, len(encoded), tokens, len(tokens), True, False)
        return list(tokens[:count])

    yield run
    llama_cpp.llama_model_free(model)


def test_the_model_is_small() -> None:
    assert MODEL.stat().st_size <= 16_000_000


def test_every_number_is_one_token(tokenize: Callable[[str], list[int]]) -> None:
    for number in range(100):
        assert len(tokenize(f"{number}")) == len(tokenize(f" {number}")) == 1


@pytest.mark.parametrize("split", ["search", "report", "imatrix"])
def test_texts_are_long_enough(tokenize: Callable[[str], list[int]], split: str) -> None:
    text = Path(FOLDER / "texts" / f"{split}.txt").read_text(encoding="utf-8")
    assert len(tokenize(text)) >= 100_000
