"""What the one-shot rivals answer, the shape of a profile, and what an Optuna sampler learns."""

from dataclasses import replace

import numpy as np
import pytest

from optimizer.search.decoding import decode, random_damage
from optimizer.search.problem import Observation, SearchProblem
from optimizer.search.rivals.bit_error import bit_error
from optimizer.search.rivals.greedy import assign, greedy
from optimizer.search.rivals.one_shot import one_shot
from optimizer.search.rivals.shape import class_of, make_layout, profile, tpe_shape
from optimizer.search.rivals.weight_error import boosts, needed_errors, weight_error, weight_error_costs
from optimizer.search.space import Option, SearchSpace, Unit
from tests.search.rivals.problems import make_problem


def predicted(problem: SearchProblem, choice: np.ndarray) -> float:
    assert problem.prior is not None
    return float(problem.prior.damage[np.arange(len(choice)), choice].sum())


def test_one_shot_beats_any_random_recipe_by_its_own_damages() -> None:
    problem = make_problem(1, n_layer=10)
    proposal = one_shot(problem).ask(0)
    assert proposal.predicted_damage == pytest.approx(predicted(problem, proposal.choice))
    rng = np.random.default_rng(0)
    for _ in range(20):
        other = decode(problem.space, random_damage(problem.space, rng), problem.budget_bytes)
        assert proposal.predicted_damage <= predicted(problem, other) * (1 + 1e-9)


def test_greedy_steps_down_where_least_is_lost() -> None:
    """Three units of one size; the budget lets one stay large: the most sensitive."""
    kinds = {"Q2_K": 10, "Q4_K": 20, "Q8_0": 40}
    units = tuple(
        Unit(name, (name,), tuple(Option(kind, {name: kind}, n_bytes) for kind, n_bytes in kinds.items()))
        for name in ("blk.0.a.weight", "blk.1.a.weight", "blk.2.a.weight")
    )
    damage = np.array([[8.0, 2.0, 0.0], [80.0, 20.0, 0.0], [4.0, 1.0, 0.0]])
    assert assign(SearchSpace(units, 5), damage, 5 + 80).tolist() == [1, 2, 1]
    assert assign(SearchSpace(units, 5), damage, 5 + 70).tolist() == [1, 2, 0]
    assert assign(SearchSpace(units, 5), damage, 5 + 30).tolist() == [0, 0, 0]


def test_greedy_is_near_the_knapsack() -> None:
    for seed in range(8):
        problem = make_problem(seed, n_layer=15)
        best, found = one_shot(problem).ask(0).predicted_damage, greedy(problem).ask(0).predicted_damage
        assert best is not None
        assert found is not None
        assert best * 0.99 <= found <= best * 1.1


def test_a_sampler_without_what_it_needs_says_so() -> None:
    bare = replace(make_problem(0), prior=None, errors=None)
    for make, wanted in ((one_shot, "prior"), (greedy, "prior"), (weight_error, "weight errors")):
        with pytest.raises(ValueError, match=wanted):
            make(bare).ask(0)


def test_weight_error_costs_sum_over_tensors_with_the_factors_of_the_pull_request() -> None:
    types = {"blk.0.attn_v.weight": "Q3_K", "blk.0.ffn_down.weight": "Q4_K"}
    unit = Unit("blk.0", tuple(types), (Option("mix", types, 10), Option("other", {}, 5, allowed=False)))
    space = SearchSpace((unit,), 0)
    errors = {("blk.0.attn_v.weight", "Q3_K"): 2.0, ("blk.0.ffn_down.weight", "Q4_K"): 3.0}
    assert needed_errors(space) == set(errors)
    low_bits = 1 + 0.5 * 2 ** (3 - 3.4375)
    assert weight_error_costs(space, errors).tolist() == [[pytest.approx(2 * low_bits + 3), np.inf]]
    factors = boosts(dict.fromkeys(types, 100), mean_bits=4.0)
    assert weight_error_costs(space, errors, factors)[0, 0] == pytest.approx(2 * low_bits * 1.25 + 3 * 6)
    with pytest.raises(ValueError, match=r"blk\.0\.ffn_down\.weight at Q4_K"):
        weight_error_costs(space, {("blk.0.attn_v.weight", "Q3_K"): 2.0})


def test_boosts_know_tied_embeddings_and_few_bits() -> None:
    small = {"token_embd.weight": 5, "blk.0.ffn_down.weight": 95}
    assert boosts(small, 4.0) == {"token_embd.weight": 2.5, "blk.0.ffn_down.weight": 6.0}
    assert boosts({"token_embd.weight": 30, "blk.0.ffn_up.weight": 70}, 4.0)["token_embd.weight"] == 1.25
    assert boosts(small, 2.0) == {}
    assert boosts({**small, "output.weight": 5}, 4.0) == {"output.weight": 3.0, "blk.0.ffn_down.weight": 6.0}


def test_a_profile_goes_through_its_points() -> None:
    params = {"start": 2.0, "trough_position": 0.4, "trough_depth": 1.5, "ramp": 2.0, "end": 1.0}
    found = profile(np.array([0.0, 0.2, 0.4, 0.7, 1.0]), params)
    assert found == pytest.approx([2.0, 0.25, -1.5, -1.5 + 2.5 * 0.25, 1.0])


def test_the_largest_class_and_units_outside_the_layers() -> None:
    problem = make_problem(0, n_layer=3)
    assert [class_of(unit) for unit in problem.space.units[:3]] == ["token_embd", "attn_v", "ffn_down"]
    layout = make_layout(problem.space.units, {**problem.parameters, "blk.0.ffn_down.weight": 10**9})
    assert layout.offsets == ("token_embd", "attn_v")
    params = {"start": 2.0, "trough_position": 0.5, "trough_depth": 0.0, "ramp": 1.0, "end": 0.0}
    found = layout.log_sensitivity({**params, "offset token_embd": -1.0, "offset attn_v": 0.5})
    assert found[:3].tolist() == [-1.0, 2.5, 2.0]


def test_tpe_learns_the_shape() -> None:
    """Where the first layers are far more sensitive, later proposals are better than the ten random ones before."""
    problem = make_problem(2, n_layer=12)
    layers = np.array([unit.name.startswith(("blk.0.", "blk.1.", "blk.2.")) for unit in problem.space.units])
    damage = bit_error(problem.space, problem.parameters) * np.where(layers, 20.0, 1.0)[:, None]
    rows, proposer, found = np.arange(len(layers)), tpe_shape(problem), []
    for number in range(50):
        choice = proposer.ask(number).choice
        found.append(float(damage[rows, choice].sum()))
        proposer.tell(Observation(choice, found[-1], 0.0), own=True)
    assert np.mean(found[-20:]) < np.mean(found[:10])
