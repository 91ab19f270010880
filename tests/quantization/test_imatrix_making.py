"""Importance matrices made in-process: the very bytes of llama-imatrix's file, and kept ones found again."""

from pathlib import Path

import numpy as np
import pytest

from evaluators.errors import EvaluationError
from evaluators.fake import FakeEvaluator
from evaluators.in_process import InProcessEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import Imatrix
from optimizer.quantization.imatrix_making import ImatrixOrder, kept_path, make_imatrix, make_kept
from tests.evaluators.imatrix.models import experts_model
from tests.evaluators.imatrix.test_collecting import FIXTURES, TEXT, same_machine

SETTINGS = RuntimeSettings(ctx_size=128, batch_size=256, threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return ModelFile.open(experts_model(tmp_path_factory.mktemp("experts")))


def test_the_file_is_llama_imatrixs(model: ModelFile, tmp_path: Path) -> None:
    """Byte for byte on a machine that sums as the fixtures' did, else value for value about."""
    out = tmp_path / "made.gguf"
    order = ImatrixOrder(TEXT, 5, "imatrix.txt", process_output=True)
    evaluator = InProcessEvaluator(SETTINGS)
    make_imatrix(evaluator, model, order, out)
    evaluator.close()
    recorded = FIXTURES / "imatrix/experts.gguf"
    if same_machine():
        assert out.read_bytes() == recorded.read_bytes()
    ours, theirs, legacy = (Imatrix.open(path) for path in (out, recorded, recorded.with_suffix(".dat")))
    assert list(ours.vectors) == list(theirs.vectors)
    assert (ours.chunk_count, ours.datasets) == (theirs.chunk_count, ("imatrix.txt",))
    for name, values in theirs.vectors.items():
        np.testing.assert_allclose(ours.vectors[name], values, rtol=1e-5 if same_machine() else 2e-2)
        np.testing.assert_allclose(legacy.vectors[name], values, rtol=1e-6)
    assert ours.check_model(model.tensors) == ("token_embd.weight",)
    assert [path.name for path in tmp_path.iterdir()] == ["made.gguf"]


def test_what_was_interrupted_goes_on(model: ModelFile, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    evaluator, order, out = InProcessEvaluator(SETTINGS), ImatrixOrder(TEXT, 5), tmp_path / "made.gguf"
    with pytest.raises(KeyboardInterrupt):
        make_imatrix(evaluator, model, order, out, stop)
    assert [path.name for path in tmp_path.iterdir()] == ["made.gguf.partial"]
    assert make_imatrix(evaluator, model, order, out) == 2
    make_imatrix(evaluator, model, order, tmp_path / "whole.gguf")
    evaluator.close()
    assert out.read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_a_kept_one_is_named_after_what_it_depends_on(model: ModelFile, tmp_path: Path) -> None:
    def named(settings: RuntimeSettings = SETTINGS, order: ImatrixOrder | None = None, text: str = "a") -> Path:
        return kept_path(settings, model, order or ImatrixOrder(TEXT), text, tmp_path)

    assert named() == named(RuntimeSettings(ctx_size=128, batch_size=256, threads=2))
    assert named() == named(order=ImatrixOrder(Path("elsewhere"), dataset="named", save_every=3))
    others = [
        named(RuntimeSettings(ctx_size=64, batch_size=256)),
        named(order=ImatrixOrder(TEXT, 2)),
        named(order=ImatrixOrder(TEXT, process_output=True)),
        named(text="b"),
    ]
    assert len({named(), *others}) == 5


def test_a_kept_one_takes_the_whole_text_where_it_is_short(model: ModelFile, tmp_path: Path) -> None:
    text, evaluator = tmp_path / "text.txt", FakeEvaluator(SETTINGS)
    text.write_text("a" * 3000)  # 1,500 tokens for the fake: 11 chunks
    for chunks, expected in ((None, 11), (100, 11), (4, 4)):
        make_kept(evaluator, model, ImatrixOrder(text, chunks), tmp_path / "kept.gguf")
        assert Imatrix.open(tmp_path / "kept.gguf").chunk_count == expected


def test_the_output_is_not_an_input(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is what the importance matrix is made of"):
        make_imatrix(FakeEvaluator(SETTINGS), model, ImatrixOrder(TEXT), model.paths[0])
    with pytest.raises(ConfigError, match="is a folder"):
        make_imatrix(FakeEvaluator(SETTINGS), model, ImatrixOrder(TEXT), tmp_path)


def test_an_error_leaves_no_file(model: ModelFile, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError):
        make_imatrix(InProcessEvaluator(SETTINGS), model, ImatrixOrder(TEXT, 10**6), tmp_path / "made.gguf")
    assert not list(tmp_path.iterdir())
