"""The samplers by name: ours, and those it is compared with."""

from collections.abc import Callable

import numpy as np

from optimizer.search.decoding import decode, random_damage
from optimizer.search.problem import Observation, Proposal, Proposer, SearchProblem
from optimizer.search.proposals import RANDOM, LayerquantProposer


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
}
NEED_PROBES = frozenset({"layerquant"})
"""Samplers that cannot start without sensitivities."""
