"""The knapsack on the probes' sensitivities, and nothing after it."""

from functools import partial

import numpy as np

from optimizer.search.decoding import decode
from optimizer.search.prior import Prior
from optimizer.search.problem import Proposal, SearchProblem
from optimizer.search.rivals.adapters import OneShotProposer

ONE_SHOT = "one_shot"


def needed_prior(problem: SearchProblem) -> Prior:
    if problem.prior is None:
        raise ValueError("this sampler needs the prior that probes give")
    return problem.prior


def _answer(problem: SearchProblem) -> Proposal:
    damage = needed_prior(problem).damage
    choice = decode(problem.space, damage, problem.budget_bytes)
    return Proposal(choice, ONE_SHOT, float(damage[np.arange(len(choice)), choice].sum()))


one_shot = partial(OneShotProposer, _answer)
