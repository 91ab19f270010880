from pathlib import Path

import numpy as np
import pytest

from evaluators.comparison import encode, joined
from evaluators.errors import EvaluationInputError
from evaluators.scoring import checked_chunks


def test_chunks_are_scored_in_order_and_once() -> None:
    assert checked_chunks([3, 0, 3], 4, Path("reference")) == [0, 3]


@pytest.mark.parametrize(
    ("chunks", "reason"), [([], "at least one"), ([4], "chunk 4"), ([-1, 2], "chunks 0 to 3; chunk -1")]
)
def test_chunks_that_a_reference_has_not_are_refused(chunks: list[int], reason: str) -> None:
    with pytest.raises(EvaluationInputError, match=reason):
        checked_chunks(chunks, 4, Path("reference"))


@pytest.mark.parametrize("cuts", [[], [1], [2, 5]])
def test_a_chunk_encoded_in_steps_is_that_encoded_at_once(cuts: list[int]) -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(7, 11)).astype(np.float32)
    targets = random.integers(0, 11, 7).astype(np.int32)
    steps = zip(np.split(logits, cuts), np.split(targets, cuts), strict=True)
    whole, parts = encode(logits, targets), joined([encode(rows, wanted) for rows, wanted in steps])
    for name in ("log_weights", "nll", "top"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
