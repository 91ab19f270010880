"""What is left of a budget: the smallest step, and the proof that nothing better fits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.decoding import decode_exactly
from optimizer.search.leftover import forecast_use, leftover_object, smallest_step
from tests.search.synthetic import synthetic_search


def test_the_forecast_s_best_is_proven_to_leave_nothing_to_use() -> None:
    search = synthetic_search(0, 12)
    space, budget = search.problem.space, search.problem.budget_bytes
    choice = decode_exactly(space, search.truth, budget).choice
    kept = {str(budget): forecast_use(space, search.truth, budget, choice)}
    n_bytes = space.file_bytes(choice)
    found = leftover_object(space, choice, n_bytes, budget, kept)
    assert found["bytes"] == budget - n_bytes
    assert found["forecast_gain"] == 0.0
    assert "(proven)" in found["text"]
    step = found["smallest_step_bytes"]
    assert step == smallest_step(space, choice)
    assert step is not None
    assert step > found["bytes"]
    assert f"{step:,} bytes" in found["text"]


@given(st.integers(0, 20))
def test_no_choice_is_forecast_below_the_bound(seed: int) -> None:
    search = synthetic_search(seed, 6)
    space, budget = search.problem.space, search.problem.budget_bytes
    largest = space.sizes.argmin(axis=1)
    use = forecast_use(space, search.truth, budget, largest)
    assert use["least_forecast"] <= use["forecast"]
    rng = np.random.default_rng(seed)
    for _ in range(50):
        choice = rng.integers(0, space.shape[1], len(space.units))
        if space.file_bytes(choice) <= budget:
            assert search.truth[np.arange(len(choice)), choice].sum() >= use["least_forecast"] * (1 - 1e-9)
    found = leftover_object(space, largest, space.file_bytes(largest), budget, {str(budget): use})
    assert found["forecast_gain"] > 0.0
    assert "% less" in found["text"]


def test_a_forecast_of_another_leader_proves_nothing() -> None:
    search = synthetic_search(0, 6)
    space, budget = search.problem.space, search.problem.budget_bytes
    choice = decode_exactly(space, search.truth, budget).choice
    kept = {str(budget): forecast_use(space, search.truth, budget, choice)}
    assert leftover_object(space, choice, budget - 1, budget, kept)["forecast_gain"] is None
    assert leftover_object(space, None, budget - 1, budget, None)["smallest_step_bytes"] is None


def test_all_at_the_largest_type_and_a_budget_used_to_the_byte() -> None:
    space = synthetic_search(0, 6).problem.space
    largest = space.sizes.argmax(axis=1)
    assert smallest_step(space, largest) is None
    n_bytes = space.file_bytes(largest)
    assert leftover_object(space, largest, n_bytes, n_bytes + 5, None)["text"] == "every unit has its largest type"
    assert leftover_object(space, largest, n_bytes, n_bytes, None)["text"] == "the budget is used to the byte"
