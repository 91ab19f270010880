"""Recipes without some layers: the bytes that these free go to the layers that stay, by the same knapsack.

The forecast is additive: what the set costs as probed, and the damage of the types by the search's own belief. Sets of
least forecast are tried, one recipe a set, as trials like any other: same chunks, same race, same gate.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.recipes.recipe import PRUNED, Recipe
from optimizer.recipes.sizes import SizeTable
from optimizer.search.baselines import uniform_damage
from optimizer.search.decoding import decode
from optimizer.search.problem import Proposer, SearchProblem
from optimizer.search.proposals import LayerquantProposer
from optimizer.search.prune_origin import is_pruned, origin_of
from optimizer.search.prune_sets import PruneSet
from optimizer.search.space import SearchSpace
from optimizer.search.units import layer_of
from optimizer.store import TrialRecord

PRUNE_TRIALS = 3
"""Trials of a budget that go to pruned candidates: they end a budget's search, and are part of its number."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PrunedProposal:
    """A recipe without some layers. `params`: unit -> option, PRUNED where the unit is gone."""

    layers: tuple[int, ...]
    recipe: Recipe
    params: dict[str, str]
    n_bytes: int
    predicted_kld: float

    @property
    def origin(self) -> str:
        return origin_of(self.layers)


def expected_damage(proposer: Proposer, problem: SearchProblem) -> Floats:
    """[units, options] nats per token: the surrogate's belief, else the probes', else as if weights were equal."""
    if isinstance(proposer, LayerquantProposer):
        return proposer.expected_damage
    if problem.prior is not None:
        return problem.prior.damage
    return uniform_damage(problem.space, problem.parameters)


class PruneStage:
    """The trials without layers that end a budget's search. The sampler hears nothing of them."""

    def __init__(self, sets: Sequence[PruneSet], problem: SearchProblem, proposer: Proposer, sizes: SizeTable) -> None:
        self._sets, self._problem, self._proposer, self._sizes = sets, problem, proposer, sizes
        self._tried: set[str] = set()

    def takes(self, trial: TrialRecord) -> bool:
        """Whether a trial of an earlier run is one of these; it is not made again then."""
        if is_pruned(trial):
            self._tried.add(trial.origin)
        return is_pruned(trial)

    @property
    def n_left(self) -> int:
        """How many more there will be."""
        return max(0, min(PRUNE_TRIALS, len(self._sets)) - len(self._tried))

    def proposals(self) -> Iterator[PrunedProposal]:
        """Recipes of least forecast within the budget, one a set; sets that do not fit are left out."""
        if not self.n_left:
            return
        damage = expected_damage(self._proposer, self._problem)
        made = [_proposal(each, self._problem, damage, self._sizes) for each in self._sets]
        fitting = [each for each in made if each is not None and each.origin not in self._tried]
        for each in sorted(fitting, key=lambda each: (each.predicted_kld, each.layers))[: self.n_left]:
            self._tried.add(each.origin)
            yield each


def _proposal(pruned: PruneSet, problem: SearchProblem, damage: Floats, sizes: SizeTable) -> PrunedProposal | None:
    space = problem.space
    rows = [row for row, unit in enumerate(space.units) if layer_of(unit.tensors[0]) not in pruned.layers]
    rest = _without(space, rows, pruned.layers, sizes)
    if rest.smallest_bytes > problem.budget_bytes:
        return None
    kept = damage[rows][:, : rest.shape[1]]
    choice = decode(rest, kept, problem.budget_bytes)
    recipe = _whole(space, rest, choice, pruned.layers)
    forecast = pruned.kld + float(kept[np.arange(len(rows)), choice].sum())
    params = {unit.name: PRUNED for unit in space.units} | rest.params(choice)
    return PrunedProposal(pruned.layers, recipe, params, rest.file_bytes(choice), forecast)


def _without(space: SearchSpace, rows: Sequence[int], layers: Sequence[int], sizes: SizeTable) -> SearchSpace:
    """The space of the units that stay, with the exact overhead of a file without the layers."""
    rest = SearchSpace(tuple(space.units[row] for row in rows), 0)
    choice = np.zeros(len(rows), dtype=np.int64)
    whole = sizes.file_size(_whole(space, rest, choice, layers), plain=False)
    return SearchSpace(rest.units, whole - rest.file_bytes(choice))


def _whole(space: SearchSpace, rest: SearchSpace, choice: npt.NDArray[np.int64], layers: Sequence[int]) -> Recipe:
    """The recipe of all tensors, in the space's order: types of the choice, PRUNED in the layers that go."""
    everything = space.recipe(np.zeros(len(space.units), dtype=np.int64)).without_layers(layers)
    return everything.replace(rest.recipe(choice).tensor_types)
