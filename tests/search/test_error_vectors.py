"""On the bundled model: what two units do to the logits together is the sum of what each does alone."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evaluators.in_process import InProcessEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.worker import QuantizationWorker
from optimizer.recipes.recipe import Recipe
from optimizer.search.draw import evenly

DEMO = Path(__file__).resolve().parents[2] / "demo"
CHUNKS = 8
UNITS = (
    [f"blk.{layer}.ffn_{role}.weight" for layer in (2, 3) for role in ("gate", "up")],
    [f"blk.{layer}.attn_{role}.weight" for layer in (4, 5) for role in ("q", "k", "v")],
    ["blk.6.ffn_down.weight"],
)


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[npt.NDArray[np.float64]]:
    """[chunks, numbers] of each unit at Q4_K alone, and of all of them together."""
    folder = tmp_path_factory.mktemp("errors")
    model = ModelFile.open(DEMO / "model/demo-F16.gguf")
    evaluator = InProcessEvaluator(RuntimeSettings(ctx_size=256, threads=1))
    reference = folder / "reference"
    evaluator.build_reference(model.paths, DEMO / "texts/search.txt", reference, chunks=CHUNKS, identity="demo")
    names = [tensor for unit in UNITS for tensor in unit]
    found = []
    with QuantizationWorker(model, names, ShardBank(folder / "bank", threads=1)) as worker:
        for lowered in (*UNITS, names):
            candidate = worker.submit(
                Recipe({name: "Q4_K" if name in lowered else "F16" for name in names}), 0
            ).result()
            try:
                score = evaluator.score(list(candidate.paths), reference, range(CHUNKS))
            finally:
                candidate.close()
            by_chunk = {chunk.chunk: chunk.as_dict() for chunk in score.chunks}
            vectors = evenly(range(CHUNKS)).error_vectors(by_chunk, CHUNKS)
            assert vectors is not None
            assert np.square(vectors).sum() / 2 == pytest.approx(score.mean_kld, rel=1e-6)
            found.append(vectors)
    evaluator.close()
    return found


def test_the_errors_of_units_add_up(errors: list[npt.NDArray[np.float64]]) -> None:
    *alone, together = errors
    missed = np.square(sum(alone) - together).sum() / np.square(together).sum()
    assert missed < 0.1


def test_their_sum_foresees_the_kld(errors: list[npt.NDArray[np.float64]]) -> None:
    *alone, together = errors
    foreseen, found = (np.square(each).sum() / 2 for each in (sum(alone), together))
    assert foreseen == pytest.approx(found, rel=0.05)
