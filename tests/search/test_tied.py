"""Groups as the coarse problem of a search by tensors."""

import numpy as np
import pytest

from optimizer.search.decoding import decode_exactly
from optimizer.search.prior import Prior
from optimizer.search.problem import SearchProblem
from optimizer.search.proposals import TIED, LayerquantProposer
from optimizer.search.space import Option, SearchSpace, Unit
from optimizer.search.tied import TiedSpace

BITS = {"Q3_K": 3.4375, "Q4_K": 4.5, "Q6_K": 6.5625}
ROLES = ("attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up", "ffn_down")


def space_of(n_layers: int = 4, *, missing: str = "") -> SearchSpace:
    units = []
    for layer in range(n_layers):
        for index, role in enumerate(ROLES):
            name = f"blk.{layer}.{role}.weight"
            options = tuple(
                Option(kind, {name: kind}, int((index + 1) * 65536 * bits / 8), allowed=kind != missing)
                for kind, bits in BITS.items()
            )
            units.append(Unit(name, (name,), options))
    return SearchSpace(tuple(units), 1000)


def damage_of(space: SearchSpace, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.lognormal(0, 1, (len(space.units), 1)) * np.exp2(-1.6 * np.array(list(BITS.values())))


@pytest.mark.parametrize("share", [1.01, 1.2, 1.5])
def test_groups_share_a_type_and_fit_and_tensors_can_only_forecast_less(share: float) -> None:
    space = space_of()
    tied = TiedSpace.of(space)
    assert tied is not None
    damage, budget = damage_of(space), int(share * space.smallest_bytes)
    choice = tied.decode(damage, budget)
    assert choice is not None
    assert space.file_bytes(choice) <= budget
    types = space.recipe(choice).tensor_types
    for layer in range(4):
        assert types[f"blk.{layer}.attn_q.weight"] == types[f"blk.{layer}.attn_k.weight"]
        assert types[f"blk.{layer}.ffn_gate.weight"] == types[f"blk.{layer}.ffn_up.weight"]
    rows = np.arange(len(choice))
    assert decode_exactly(space, damage, budget).cost <= damage[rows, choice].sum() + 1e-12


def test_only_what_is_allowed_is_tied() -> None:
    space = space_of(missing="Q4_K")
    tied = TiedSpace.of(space)
    assert tied is not None
    choice = tied.decode(damage_of(space), int(1.3 * space.smallest_bytes))
    assert choice is not None
    assert space.is_own(choice)


def test_nothing_is_tied_where_units_are_groups_already() -> None:
    names = ("blk.0.attn_v.weight", "blk.0.ffn_down.weight")
    units = tuple(Unit(name, (name,), (Option("Q4_K", {name: "Q4_K"}, 10),)) for name in names)
    assert TiedSpace.of(SearchSpace(units, 0)) is None


def test_a_search_by_tensors_starts_with_groups() -> None:
    space = space_of()
    damage = damage_of(space)
    classes = np.tile(np.arange(len(BITS)), (len(space.units), 1))
    parameters = {unit.name: 65536 for unit in space.units}
    problem = SearchProblem(space, int(1.3 * space.smallest_bytes), parameters, 0, Prior(damage, classes))
    proposal = LayerquantProposer(problem).ask(0)
    tied = TiedSpace.of(space)
    assert tied is not None
    assert proposal.origin == TIED
    decoded = tied.decode(damage, problem.budget_bytes)
    assert decoded is not None
    assert np.array_equal(proposal.choice, decoded)
