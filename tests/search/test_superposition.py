"""What units do to the logits adds up: planted vectors are found again, and the way down leads where they cancel."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.error_guide import LEAST_TRIALS, ErrorGuide
from optimizer.search.landscape import LEAST_GAIN, Landscape
from optimizer.search.problem import Integers, Observation
from optimizer.search.proposals import LayerquantProposer
from optimizer.search.space import Option, SearchSpace, Unit
from optimizer.search.superposition import Superposition
from tests.search.planted import CHUNKS, NUMBERS, RUNGS, Planted


def test_once_every_option_was_seen_other_recipes_are_foreseen() -> None:
    planted = Planted(1)
    model = Superposition(planted.prior, RUNGS)
    for choice in planted.random_choices(120):
        model.tell(choice, planted.errors(choice))
    for choice in planted.random_choices(20):
        mean, unknown = model.predict(choice)
        assert mean == pytest.approx(planted.damage(choice), rel=0.12)
        assert unknown < 0.25 * mean


def test_what_nobody_has_seen_counts_its_prior_damage() -> None:
    planted = Planted(2)
    model = Superposition(planted.prior, RUNGS)
    first = planted.random_choices(1)[0]
    model.tell(first, planted.errors(first))
    mean, _ = model.predict(first)
    assert mean == pytest.approx(planted.damage(first), rel=0.05)
    other = (first + 1) % planted.prior.shape[1]  # shares no option with it
    flattened = planted.prior**0.85
    level = planted.damage(first) / flattened[planted.rows, first].sum()
    assert model.predict(other)[1] == pytest.approx(level * flattened[planted.rows, other].sum(), rel=0.25)


def test_a_trial_that_ended_early_tells_of_the_chunks_it_saw() -> None:
    planted = Planted(3)
    whole, partly = Superposition(planted.prior, RUNGS), Superposition(planted.prior, RUNGS)
    told, asked = planted.random_choices(60), planted.random_choices(10)
    for number, choice in enumerate(told):
        errors = planted.errors(choice)
        whole.tell(choice, errors)
        partly.tell(choice, errors if number < 30 else errors[: RUNGS[0]])
    assert (whole.trials, partly.trials) == (60, 30)
    for choice in asked:
        assert partly.predict(choice)[1] > whole.predict(choice)[1]


def test_the_landscape_is_what_the_model_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optimizer.search.superposition.CROSS", 1.0)
    planted = Planted(4)
    model = Superposition(planted.prior, RUNGS)
    for choice in planted.random_choices(40):
        model.tell(choice, planted.errors(choice))
    landscape = model.landscape()
    for choice in planted.random_choices(10):
        assert landscape.damage(choice) == pytest.approx(model.predict(choice)[0], rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 1.0))
def test_no_single_change_or_exchange_is_better_than_where_a_descent_ends(seed: int, place: float) -> None:
    rng = np.random.default_rng(seed)
    units, options = 5, 4
    sizes = np.cumsum(rng.integers(1, 5, (units, options)), axis=1) * 32
    space = SearchSpace(
        tuple(
            Unit(f"{u}", (f"{u}",), tuple(Option(f"{o}", {f"{u}": f"{o}"}, int(sizes[u, o])) for o in range(options)))
            for u in range(units)
        ),
        overhead_bytes=100,
    )
    signs = np.array([1.0, 1.0, 1.0, -1.0])
    features = rng.standard_normal((units, options, 4)) * np.array([1, 1, 1, 0.1])
    landscape = Landscape(features, signs, rng.random((units, options)))
    smallest = np.zeros(units, dtype=np.int64)
    budget = space.file_bytes(smallest) + int(place * (sizes[:, -1] - sizes[:, 0]).sum())
    end = landscape.descend(space, smallest, budget)
    assert space.file_bytes(end) <= budget
    damage = landscape.damage(end)
    assert damage <= landscape.damage(smallest)
    for choice in map(np.array, product(range(options), repeat=units)):
        if (choice != end).sum() <= 2 and space.file_bytes(choice) <= budget:
            single = (choice != end).sum() == 1
            pays = ((sizes[np.arange(units), choice] < sizes[np.arange(units), end])[choice != end]).any()
            if single or pays:
                assert landscape.damage(choice) > damage - 2 * LEAST_GAIN * abs(damage) - 1e-9


def test_vectors_lead_to_less_damage_than_sums_of_damages() -> None:
    with_vectors, without = [], []
    for seed in range(3):
        planted = Planted(seed, cosine=0.25)
        with_vectors.append(_search(planted, 50, knows_errors=True))
        without.append(_search(planted, 50, knows_errors=False))
    assert np.mean(np.log(with_vectors)) < np.mean(np.log(without)) - 0.05


def test_probes_that_were_wrong_do_not_mislead_them() -> None:
    with_vectors, without = [], []
    for seed in range(3):
        planted = Planted(seed, shuffled=True)
        with_vectors.append(_search(planted, 50, knows_errors=True))
        without.append(_search(planted, 50, knows_errors=False))
    assert np.mean(np.log(with_vectors)) < np.mean(np.log(without)) + 0.02


def test_baselines_alone_do_not_make_vectors_lead() -> None:
    planted = Planted(9)
    guide = ErrorGuide(planted.problem(knows_errors=True))
    for choice in planted.random_choices(LEAST_TRIALS):
        guide.tell(Observation(choice, planted.damage(choice), 0.0), own=False)
    assert not guide.leads


def test_a_search_without_vectors_is_led_by_damages() -> None:
    planted = Planted(5)
    guide = ErrorGuide(planted.problem(knows_errors=False))
    for choice in planted.random_choices(LEAST_TRIALS):
        guide.tell(Observation(choice, planted.damage(choice), 0.0), own=True)
    assert not guide.leads
    assert guide.predictive(planted.random_choices(1)[0], 0.0) is None


def test_evaluations_that_kept_no_vectors_are_passed_over() -> None:
    planted = Planted(6)
    missing = planted.random_choices(LEAST_TRIALS)
    guide = ErrorGuide(planted.problem(knows_errors=True, without={choice.tobytes() for choice in missing}))
    for choice in missing:
        guide.tell(Observation(choice, planted.damage(choice), 0.0), own=True)
    assert not guide.leads
    for choice in planted.random_choices(LEAST_TRIALS):
        guide.tell(Observation(choice, planted.damage(choice), 0.0), own=True)
    assert guide.leads


def test_the_same_trials_give_the_same_proposals() -> None:
    asked: list[list[bytes]] = []
    for _ in range(2):
        planted = Planted(7)
        proposer = LayerquantProposer(planted.problem(knows_errors=True))
        numbers = []
        for number in range(LEAST_TRIALS + 8):
            choice = proposer.ask(number).choice
            numbers.append(choice.tobytes())
            proposer.tell(Observation(choice, planted.damage(choice), 0.0), own=True)
        asked.append(numbers)
    assert asked[0] == asked[1]
    assert len(set(asked[0])) == LEAST_TRIALS + 8


def _search(planted: Planted, trials: int, *, knows_errors: bool) -> float:
    problem = planted.problem(knows_errors=knows_errors)
    proposer = LayerquantProposer(problem)
    best = float("inf")
    for number in range(trials):
        choice: Integers = proposer.ask(number).choice
        assert problem.space.file_bytes(choice) <= problem.budget_bytes
        damage = planted.damage(choice)
        best = min(best, damage)
        proposer.tell(Observation(choice, damage, 0.0), own=True)
    return best


def test_planted_errors_have_the_shape_of_measured_ones() -> None:
    planted = Planted(8)
    choice = planted.random_choices(1)[0]
    assert planted.errors(choice).shape == (CHUNKS, NUMBERS)
