"""The knapsack against exhaustive search, and its laws."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.knapsack import solve


def exhaustive(costs: np.ndarray, sizes: np.ndarray, budget: int) -> float:
    n_units, n_options = costs.shape
    choices = np.indices((n_options,) * n_units).reshape(n_units, -1).T
    rows = np.arange(n_units)
    fits = sizes[rows, choices].sum(axis=1) <= budget
    return float(costs[rows, choices].sum(axis=1)[fits].min())


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    n_units, n_options = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(1, 1000, (n_units, n_options))
    costs = rng.exponential(1.0, (n_units, n_options))
    floor, ceiling = int(sizes.min(axis=1).sum()), int(sizes.max(axis=1).sum())
    return costs, sizes, draw(st.integers(floor, ceiling))


@settings(max_examples=300, deadline=None)
@given(problems())
def test_within_budget_and_between_bound_and_optimum(problem: tuple[np.ndarray, np.ndarray, int]) -> None:
    costs, sizes, budget = problem
    found = solve(costs, sizes, budget)
    optimum = exhaustive(costs, sizes, budget)
    assert found.n_bytes <= budget
    assert found.cost >= optimum - 1e-9
    assert found.lower_bound <= optimum + 1e-9


def test_close_to_the_optimum_on_average() -> None:
    rng = np.random.default_rng(1)
    excess = []
    for _ in range(200):
        sizes = np.sort(rng.integers(10, 1000, (6, 4)), axis=1)
        costs = -np.sort(-rng.exponential(1.0, (6, 4)), axis=1)
        budget = int(rng.integers(sizes[:, 0].sum(), sizes[:, -1].sum()))
        excess.append(solve(costs, sizes, budget).cost / exhaustive(costs, sizes, budget) - 1)
    assert np.mean(excess) < 0.01


@settings(max_examples=60, deadline=None)
@given(problems())
def test_no_move_or_exchange_helps_any_more(problem: tuple[np.ndarray, np.ndarray, int]) -> None:
    costs, sizes, budget = problem
    found = solve(costs, sizes, budget)
    moves = list(itertools.product(range(costs.shape[0]), range(costs.shape[1])))
    for first, second in itertools.product(moves, moves):
        if first[0] == second[0] and first != second:
            continue
        changed = found.choice.copy()
        changed[first[0]], changed[second[0]] = first[1], second[1]
        rows = np.arange(len(costs))
        if sizes[rows, changed].sum() <= budget:
            assert costs[rows, changed].sum() >= found.cost * (1 - 1e-9)


def test_of_equal_sizes_the_cheaper_is_taken() -> None:
    costs, sizes = np.array([[3.0, 1.0, 0.5], [2.0, 1.0, 0.5]]), np.array([[10, 10, 90], [20, 20, 90]])
    assert solve(costs, sizes, 30).choice.tolist() == [1, 1]


def test_thousand_units_leave_almost_nothing_unused() -> None:
    rng = np.random.default_rng(0)
    bits = np.array([2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5])
    weights = rng.integers(1, 60, (1000, 1)) * 1_000_000
    sizes = (weights * bits / 8).astype(np.int64)
    costs = rng.lognormal(0, 1, (1000, 1)) * np.exp2(-1.6 * bits)[None, :]
    budget = int(sizes[:, 2].sum())
    found = solve(costs, sizes, budget)
    assert found.n_bytes <= budget
    assert budget - found.n_bytes < 0.0005 * budget
    assert found.gap < 0.001


def test_missing_options_are_never_chosen() -> None:
    costs = np.array([[3.0, np.inf], [2.0, 1.0]])
    sizes = np.array([[10, 1], [10, 20]])
    assert solve(costs, sizes, 30).choice.tolist() == [0, 1]


def test_impossible_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="exceed the budget"):
        solve(np.ones((2, 2)), np.full((2, 2), 10), 19)
