"""CMA-ES over one log-sensitivity a unit, decoded: the package `cmaes`, set up as Optuna's CmaEsSampler sets it up.

Mean in the middle of the range, sigma a sixth of it, the package's population size, trials that failed left out; but
without bounds, as every offset is a sensitivity. Optuna's own sampler is not used because it keeps the whole covariance
as text in every generation's trial, decomposes it for every proposal and draws again while one value of a thousand
is out of bounds: minutes for a thousand units.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cmaes import CMA

from optimizer.search.decoding import decode
from optimizer.search.problem import Observation, Proposal, SearchProblem
from optimizer.search.rivals.adapters import GeneratorProposer, Search
from optimizer.search.rivals.bit_error import bit_error
from optimizer.search.rivals.optuna_search import LARGEST_OFFSET

CMAES = "cmaes"


def _start(problem: SearchProblem, baselines: Sequence[Observation]) -> Search:
    n_units = len(problem.space.units)
    table = bit_error(problem.space, problem.parameters)
    mean = np.zeros(max(2, n_units))  # the package wants two dimensions at least
    optimizer = CMA(mean=mean, sigma=LARGEST_OFFSET / 3, seed=problem.seed % 2**32)
    generation: list[tuple[npt.NDArray[np.float64], float]] = []
    while True:
        offsets = optimizer.ask()
        damage = np.exp(offsets[:n_units])[:, None] * table
        choice = decode(problem.space, damage, problem.budget_bytes)
        observation = yield Proposal(choice, CMAES)
        if np.isfinite(observation.damage) and np.array_equal(observation.choice, choice):
            generation.append((offsets, observation.damage))
        if len(generation) == optimizer.population_size:
            optimizer.tell(generation)
            generation = []


def cmaes(problem: SearchProblem) -> GeneratorProposer:
    return GeneratorProposer(_start, problem)
