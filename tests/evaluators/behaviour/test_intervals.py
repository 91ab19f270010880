"""Against published figures, and against scipy's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from evaluators.behaviour.intervals import PairedTest, wilson_interval


def test_newcombe_s_examples() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3 (Wilson)."""
    for successes, total, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        interval = wilson_interval(successes, total)
        assert interval.low == pytest.approx(low, abs=5e-5)
        assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 300).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_equals_scipy_s(case: tuple[int, int]) -> None:
    successes, total = case
    ours = wilson_interval(successes, total)
    theirs = binomtest(successes, total).proportion_ci(method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_tried_says_nothing_and_nonsense_is_refused() -> None:
    nothing = wilson_interval(0, 0)
    assert (nothing.low, nothing.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="cannot be"):
        wilson_interval(3, 2)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(gained: int, lost: int) -> None:
    p_value = PairedTest(gained, lost, gained + lost).p_value
    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert p_value == pytest.approx(expected, rel=1e-9)
    assert p_value == PairedTest(lost, gained, 100).p_value


def test_five_to_nothing_is_not_yet_five_percent() -> None:
    assert PairedTest(5, 0, 30).p_value == 0.0625
    assert PairedTest(6, 0, 30).p_value == 0.03125
