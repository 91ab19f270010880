"""What second probes tell: laws of the correction, and that it finds better mixes on a problem of known damage."""

from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.decoding import decode
from optimizer.search.looks import LEVEL, MOST_OFF, NOISE, OPTION, SHAPE, Look, Looks, log_ratio
from tests.search.synthetic import SyntheticSearch, synthetic_search

OWN = LEVEL**2 + SHAPE**2 + OPTION**2
"""Prior variance of one option's correction."""


def looks_of(search: SyntheticSearch) -> Looks:
    problem = search.problem
    assert problem.prior is not None
    return Looks(problem.space, problem.prior, problem.parameters)


def measure(search: SyntheticSearch, looks: Looks, place: tuple[int, int], noise: float) -> Look:
    return Look(*place, log_ratio(float(search.truth[place] * exp(noise)), looks.expected(place)))


def test_nobody_looked_leaves_the_prior() -> None:
    search = synthetic_search(0)
    assert search.problem.prior is not None
    np.testing.assert_allclose(looks_of(search).prior.damage, search.problem.prior.damage)


def test_one_look_moves_its_option_most_and_other_units_by_what_is_common() -> None:
    """By hand; two looks of opposite signs, so that nothing is common to all."""
    search = synthetic_search(0)
    looks, before = looks_of(search), looks_of(search).prior.damage
    looks.add([Look(3, 2, log(2)), Look(4, 2, -log(2))])
    factor = looks.prior.damage / before
    gain = OWN / (OWN + NOISE**2)
    assert factor[3, 2] == pytest.approx(2**gain)
    assert factor[4, 2] == pytest.approx(2**-gain)
    beside = (LEVEL**2 + SHAPE**2 * exp(-1.0)) / (OWN + NOISE**2)  # Q5_K has one bit a weight more than Q4_K
    assert factor[3, 3] == pytest.approx(2**beside)
    np.testing.assert_allclose(np.delete(factor, [3, 4], axis=0), 1.0)


def test_what_all_looks_say_holds_for_units_that_nobody_looked_at() -> None:
    search = synthetic_search(0)
    looks, before = looks_of(search), looks_of(search).prior.damage
    looks.add([Look(unit, 2, log(3)) for unit in range(5)])
    np.testing.assert_allclose(looks.prior.damage, 3 * before)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 47), st.integers(0, 5), st.floats(-2, 2)), max_size=12))
def test_the_order_of_looks_does_not_matter(raw: list[tuple[int, int, float]]) -> None:
    search = synthetic_search(1)
    found = [Look(*each) for each in {each[:2]: each for each in raw}.values()]
    together, apart = looks_of(search), looks_of(search)
    together.add(found)
    for look in reversed(found):
        apart.add([look])
    np.testing.assert_allclose(together.prior.damage, apart.prior.damage)


def test_options_of_the_knapsack_are_wanted_and_none_twice() -> None:
    search = synthetic_search(2)
    space, budget = search.problem.space, search.problem.budget_bytes
    looks = looks_of(search)
    assert len(looks.wanted([budget], 10)) == 10
    for _ in range(20):
        chosen = decode(space, looks.prior.damage, budget)
        places = looks.wanted([budget], 1000)
        assert all(chosen[unit] == option for unit, option in places)
        if not places:
            break
        looks.add([measure(search, looks, place, 0.0) for place in places])
    assert places == []
    assert looks.wanted([space.largest_bytes], 1000)


def test_what_is_done_is_not_wanted() -> None:
    problem = synthetic_search(2).problem
    assert problem.prior is not None
    place = looks_of(synthetic_search(2)).wanted([problem.budget_bytes], 1)[0]
    looks = Looks(problem.space, problem.prior, problem.parameters, done=[place])
    assert place not in looks.wanted([problem.budget_bytes], 1000)


def test_two_budgets_share_what_is_wanted() -> None:
    search = synthetic_search(2)
    budget, looks = search.problem.budget_bytes, looks_of(synthetic_search(2))
    both = looks.wanted([budget, budget * 5 // 4], 1000)
    assert {*both} == {*looks.wanted([budget], 1000), *looks.wanted([budget * 5 // 4], 1000)}


def test_looks_find_better_mixes() -> None:
    """Units and types are as they are (30 % off in each option beside the unit's own level), measured 25 % wrong."""
    ratios = []
    for seed in range(8):
        search = synthetic_search(seed, interaction=0.0)
        space, budget = search.problem.space, search.problem.budget_bytes
        search.truth *= np.random.default_rng((seed, 3)).lognormal(0, 0.3, space.shape)
        looks, rng, rows = looks_of(search), np.random.default_rng((seed, 4)), np.arange(len(space.units))
        before = search.truth[rows, decode(space, looks.prior.damage, budget)].sum()
        for _ in range(3):
            places = looks.wanted([budget], 24)
            looks.add([measure(search, looks, place, float(rng.normal(0, 0.25))) for place in places])
        ratios.append(search.truth[rows, decode(space, looks.prior.damage, budget)].sum() / before)
    assert np.exp(np.mean(np.log(ratios))) < 0.97


@pytest.mark.parametrize(
    ("measured", "expected", "found"),
    [
        (2.0, 1.0, log(2)),
        (-1.0, 1.0, -MOST_OFF),
        (0.0, 1.0, -MOST_OFF),
        (1000.0, 1.0, MOST_OFF),
    ],
)
def test_ratio(measured: float, expected: float, found: float) -> None:
    assert log_ratio(measured, expected) == pytest.approx(found)
