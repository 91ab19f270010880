"""The samplers by name: ours, and those it is compared with."""

from collections.abc import Callable

import numpy as np

from optimizer.search.decoding import decode, random_damage
from optimizer.search.problem import Observation, Proposal, Proposer, SearchProblem
from optimizer.search.proposals import RANDOM, LayerquantProposer
from optimizer.search.rivals.cma import cmaes
from optimizer.search.rivals.evolution import evolution, evolution_short
from optimizer.search.rivals.greedy import greedy
from optimizer.search.rivals.one_shot import one_shot
from optimizer.search.rivals.optuna_search import nsga2, tpe
from optimizer.search.rivals.shape import tpe_shape
from optimizer.search.rivals.weight_error import weight_error


class RandomProposer:
    """Random damages, decoded to the budget."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem

    def tell(self, observation: Observation, *, own: bool) -> None:
        """Nothing is learnt."""

    def ask(self, number: int) -> Proposal:
        problem = self._problem
        rng = np.random.default_rng((problem.seed, number))
        return Proposal(decode(problem.space, random_damage(problem.space, rng), problem.budget_bytes), RANDOM)


MAKERS: dict[str, Callable[[SearchProblem], Proposer]] = {
    "layerquant": LayerquantProposer,
    "random": RandomProposer,
    "tpe": tpe,
    "tpe_shape": tpe_shape,
    "nsga2": nsga2,
    "cmaes": cmaes,
    "evolution": evolution,
    "evolution_short": evolution_short,
    "one_shot": one_shot,
    "weight_error": weight_error,
    "greedy": greedy,
}
NEED_PROBES = frozenset({"layerquant", "one_shot", "greedy"})
"""Samplers that cannot start without sensitivities."""
NEED_WEIGHT_ERRORS = frozenset({"weight_error"})
"""Samplers that cannot start without `SearchProblem.errors`."""
ONE_SHOT = frozenset({"one_shot", "weight_error", "greedy"})
"""Samplers with a single answer: a search is over once its trial has ended."""
