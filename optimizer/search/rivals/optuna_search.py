"""Optuna's samplers at their defaults over float parameters; what they suggest becomes damages and is decoded.

Optuna sees a study of its own, in memory. A trial that lost its race is told with the estimate of its full-text damage,
as complete: NSGA-II would otherwise learn nothing from it. Baselines have no parameters and are not told.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import TrialState

from optimizer.search.decoding import decode
from optimizer.search.problem import Proposal, SearchProblem
from optimizer.search.rivals.adapters import GeneratorProposer, Search
from optimizer.search.rivals.bit_error import bit_error

Floats = npt.NDArray[np.float64]
TPE, NSGA2 = "tpe", "nsga2"
LARGEST_OFFSET = 3.0
"""Natural log of how far a unit's sensitivity may lie from that of equally sensitive weights."""


def search(
    problem: SearchProblem,
    sampler: BaseSampler,
    distributions: Mapping[str, BaseDistribution],
    damage_of: Callable[[Mapping[str, float]], Floats],
    origin: str,
) -> Search:
    """Ask Optuna for parameters, turn them into damages [units, options], decode, and tell it how the trial went."""
    study = optuna.create_study(sampler=sampler)
    while True:
        trial = study.ask(dict(distributions))
        choice = decode(problem.space, damage_of(trial.params), problem.budget_bytes)
        observation = yield Proposal(choice, origin)
        failed = not np.isfinite(observation.damage) or not np.array_equal(observation.choice, choice)
        study.tell(
            trial,
            None if failed else observation.damage,
            state=TrialState.FAIL if failed else TrialState.COMPLETE,
        )


def search_offsets(problem: SearchProblem, sampler: BaseSampler, origin: str) -> Search:
    """One parameter a unit: the log of its sensitivity over that of equally sensitive weights."""
    names = [unit.name for unit in problem.space.units]
    table = bit_error(problem.space, problem.parameters)
    distributions = dict.fromkeys(names, FloatDistribution(-LARGEST_OFFSET, LARGEST_OFFSET))

    def damage_of(params: Mapping[str, float]) -> Floats:
        offsets = np.array([params[name] for name in names])
        damage: Floats = np.exp(offsets)[:, None] * table
        return damage

    return search(problem, sampler, distributions, damage_of, origin)


def tpe(problem: SearchProblem) -> GeneratorProposer:
    return GeneratorProposer(lambda p, _: search_offsets(p, TPESampler(seed=p.seed), TPE), problem)


def nsga2(problem: SearchProblem) -> GeneratorProposer:
    return GeneratorProposer(lambda p, _: search_offsets(p, NSGAIISampler(seed=p.seed), NSGA2), problem)
