"""What is kept of a chunk's error vectors: its direction to three digits, its length exactly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.kernel import SKETCH_SIZE
from evaluators.sketches import decode_sketch, encode_sketch


@given(st.integers(0, 2**32), st.floats(1e-9, 1e3), st.floats(1e-6, 1e6))
def test_direction_and_length_come_back(seed: int, kld_sum: float, scale: float) -> None:
    errors = np.random.default_rng(seed).standard_normal(SKETCH_SIZE)
    found = decode_sketch(encode_sketch(scale * errors, kld_sum), kld_sum)
    assert found @ found / 2 == pytest.approx(kld_sum)
    np.testing.assert_allclose(found / np.linalg.norm(found), errors / np.linalg.norm(errors), atol=5e-4)


def test_what_lost_nothing_has_no_errors() -> None:
    assert encode_sketch(np.zeros(SKETCH_SIZE), 0.0) is None
    assert encode_sketch(np.ones(SKETCH_SIZE), -1e-9) is None
    assert not decode_sketch(None, 0.0).any()


@pytest.mark.parametrize(("sketch", "why"), [("AAAA", "buffer size|numbers"), ("no base64", "base64|Only")])
def test_other_text_is_refused(sketch: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_sketch(sketch, 1.0)
