"""A small model of random weights, candidates quantized from it, and a text: made once for all tests of evaluators."""

from collections.abc import Callable, Iterator
from pathlib import Path

import llama_cpp.llama_cpp as low
import numpy as np
import pytest

from evaluators.in_process import InProcessEvaluator
from evaluators.runtime import start_backend
from evaluators.settings import RuntimeSettings
from tests.models import tiny_model

# One thread: llama.cpp's threads wait for each other by spinning, which is slow where other tests want the cores.
SETTINGS = RuntimeSettings(ctx_size=64, batch_size=128, ubatch_size=64, threads=1)
FTYPES = {"Q2_K": 10, "Q4_K_M": 15, "Q8_0": 7, "IQ4_XS": 30}


def quantize(source: Path, target: Path, preset: str) -> Path:
    start_backend()
    params = low.llama_model_quantize_default_params()
    params.ftype, params.nthread = FTYPES[preset], 1
    assert low.llama_model_quantize(str(source).encode(), str(target).encode(), params) == 0
    return target


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"), n_layer=2, seed=3)


@pytest.fixture(scope="session")
def tiny_q4(tiny: Path) -> Path:
    return quantize(tiny, tiny.with_name("tiny-Q4_K_M.gguf"), "Q4_K_M")


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the tiny model's tokens more than 1,000 and fewer than 4,000."""
    random = np.random.default_rng(5)
    words = ["the", "and", "under", "Tokyo", "ö", "four", "gains", "12", "apples", "loses", "in", "hour"]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(" ".join(random.choice(words, 700)) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def evaluator() -> Iterator[InProcessEvaluator]:
    evaluator = InProcessEvaluator(SETTINGS)
    yield evaluator
    evaluator.close()


@pytest.fixture(scope="session")
def reference(tiny: Path, text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "search"
    InProcessEvaluator(SETTINGS).build_reference([tiny], text, folder, chunks=8, identity="tiny")
    return folder


@pytest.fixture
def patched(tmp_path: Path) -> Callable[[Path, bytes, bytes], Path]:
    """Copies a file with some of its bytes, which must occur once, replaced by as many others."""

    def patch(source: Path, old: bytes, new: bytes) -> Path:
        content = source.read_bytes()
        assert len(old) == len(new)
        assert content.count(old) == 1
        target = tmp_path / f"patched-{source.name}"
        target.write_bytes(content.replace(old, new))
        return target

    return patch
