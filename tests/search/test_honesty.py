"""Predicted against measured: order, level, spread, cover, and when the surrogate is shown wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from optimizer.search.honesty import MIN_FORECASTS, MIN_ORDERED, Forecast, assess, is_wrong

damages = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=3, max_size=20).filter(
    lambda pairs: len({a for a, _ in pairs}) > 1 and len({b for _, b in pairs}) > 1
)


@given(damages)
def test_order_is_spearmans(pairs: list[tuple[int, int]]) -> None:
    assert assess(pairs).spearman == pytest.approx(spearmanr(*np.array(pairs).T).statistic, abs=1e-12)


def test_level_spread_and_cover() -> None:
    pairs = [(1.0, 1.1), (2.0, 2.2), (3.0, 3.3), (4.0, 5.0)]
    found = assess(pairs, [0.06, 0.11, None, 0.1])
    assert found.pairs == 4
    assert found.median_ratio == pytest.approx(1.1)
    assert found.spread == pytest.approx(np.std(np.log([1.1, 1.1, 1.1, 1.25]), ddof=1))
    assert found.covered == pytest.approx(2 / 3)


def test_nothing_is_said_of_too_few_or_useless_pairs() -> None:
    few = assess([(1.0, 2.0), (2.0, float("inf")), (0.0, 1.0)], [1.0, 1.0, 1.0])
    assert (few.pairs, few.spearman, few.median_ratio, few.spread, few.covered) == (1, None, 2.0, None, None)
    assert assess([]).pairs == 0
    assert assess([(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]).spearman is None


def forecast(predicted: float, measured: float) -> Forecast:
    return Forecast(predicted, 0.01, measured, incumbent=1.0, noise=0.02)


def test_proposals_far_behind_what_was_promised_prove_the_surrogate_wrong() -> None:
    misled = [forecast(0.9, 1.3)] * MIN_FORECASTS
    assert is_wrong(misled)
    assert not is_wrong(misled[1:])
    assert not is_wrong([*misled, *[forecast(0.95, 0.99)] * 3])


def test_foreseen_or_small_losses_prove_nothing() -> None:
    assert not is_wrong([forecast(1.25, 1.3)] * MIN_FORECASTS)
    assert not is_wrong([forecast(0.99, 1.03)] * MIN_FORECASTS)


def test_clear_differences_in_the_wrong_order_prove_it_wrong() -> None:
    spread = np.linspace(0.0, 0.4, MIN_ORDERED)
    assert is_wrong([forecast(1.5 - x, 1.1 + x) for x in spread])
    assert not is_wrong([forecast(1.1 + x, 1.1 + x) for x in spread])
    within_noise = np.linspace(0.0, 0.05, MIN_ORDERED)
    assert not is_wrong([forecast(1.5 - x, 1.1 + x) for x in within_noise])
