"""The exact knapsack against exhaustive search, its laws, and the proof it gives where it must stop early."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.exact import solve_exactly
from optimizer.search.knapsack import solve
from tests.search.test_knapsack import exhaustive, problems


@settings(max_examples=300, deadline=None)
@given(problems(), st.booleans())
def test_the_optimum_and_the_proof_of_it(problem: tuple[np.ndarray, np.ndarray, int], ties: bool) -> None:
    costs, sizes, budget = problem
    if ties:  # many options of one cost
        costs = np.ceil(4 * costs)
    found = solve_exactly(costs, sizes, budget)
    rows = np.arange(len(costs))
    assert found.cost == pytest.approx(exhaustive(costs, sizes, budget), rel=1e-9)
    assert found.gap <= 1e-9
    assert found.cost == pytest.approx(costs[rows, found.choice].sum())
    assert found.n_bytes == sizes[rows, found.choice].sum() <= budget


@settings(max_examples=100, deadline=None)
@given(problems(), st.integers(1, 3))
def test_stopped_early_it_is_no_worse_than_the_refill_and_its_bound_holds(
    problem: tuple[np.ndarray, np.ndarray, int], max_states: int
) -> None:
    costs, sizes, budget = problem
    found = solve_exactly(costs, sizes, budget, max_states)
    optimum = exhaustive(costs, sizes, budget)
    assert optimum - 1e-9 <= found.cost <= solve(costs, sizes, budget).cost + 1e-9
    assert found.lower_bound <= optimum + 1e-9


@settings(max_examples=100, deadline=None)
@given(problems(), st.integers(0, 500))
def test_more_bytes_never_cost_more(problem: tuple[np.ndarray, np.ndarray, int], more: int) -> None:
    costs, sizes, budget = problem
    assert solve_exactly(costs, sizes, budget + more).cost <= solve_exactly(costs, sizes, budget).cost + 1e-9


def test_missing_options_are_never_chosen() -> None:
    costs = np.array([[3.0, np.inf], [2.0, 1.0]])
    sizes = np.array([[10, 1], [10, 20]])
    found = solve_exactly(costs, sizes, 30)
    assert (found.choice.tolist(), found.gap) == ([0, 1], 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_128_units_is_proven(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = np.linspace(2.625, 8.5, 10)
    sizes = np.rint(rng.integers(1, 60, (128, 1)) * 32_768 * bits / 8).astype(np.int64)
    costs = rng.lognormal(0, 1, (128, 1)) * np.exp2(-1.6 * bits) * rng.lognormal(0, 0.2, (128, 10))
    found = solve_exactly(costs, sizes, int(1.5 * sizes[:, 0].sum()))
    assert found.gap == 0.0
    assert found.cost <= solve(costs, sizes, int(1.5 * sizes[:, 0].sum())).cost
