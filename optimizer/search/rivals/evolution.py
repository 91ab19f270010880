"""(1 + lambda) evolution with selection in stages, after EvoPress (Sieberling et al. 2024, arXiv:2410.14649).

Each generation makes lambda offspring of the parent by size-neutral mutation. All are scored on a small part of the
text, the best of them on more, and the few that are left on everything; the parent stays unless the winner is better.
Unlike there, every stage sees the first chunks of one and the same text, not fresh samples: stages are nested, so that
what a stage has seen is not paid again, and the parent's score is known.
"""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from optimizer.search.decoding import decode, random_damage
from optimizer.search.problem import Observation, Proposal, SearchProblem
from optimizer.search.rivals.adapters import GeneratorProposer, Search
from optimizer.search.rivals.bit_error import bit_error
from optimizer.search.rivals.offspring import Mutation

Integers = npt.NDArray[np.int64]
START, OFFSPRING = "uniform", "offspring"


@dataclass(frozen=True)
class Stage:
    """So many candidates are scored on this share of the text's chunks."""

    candidates: int
    share: float


DOCUMENTED = (Stage(128, 1 / 64), Stage(16, 1 / 8), Stage(4, 1.0))
"""scripts/run_quant_search.sh: 128 offspring, survivors 16, 4 and 1 on 2,048, 16,384 and 131,072 tokens."""
SHORT = (Stage(16, 1 / 8), Stage(4, 1 / 4), Stage(1, 1.0))
"""For texts of which 1/64 is less than a batch, and for few trials: a generation costs 3.25 full texts."""


def _start(stages: Sequence[Stage], problem: SearchProblem, baselines: Sequence[Observation]) -> Search:
    space, budget_bytes = problem.space, problem.budget_bytes
    damage = bit_error(space, problem.parameters)
    mutation = Mutation(space, damage, budget_bytes)
    rng = np.random.default_rng(problem.seed)
    parent = _best_baseline(problem, baselines)
    if parent is None:
        parent = yield Proposal(decode(space, damage, budget_bytes), START)
    while True:
        winner = yield from _generation(stages, mutation, parent.choice, rng)
        if winner is None:  # no mutation fits: anything else that does
            winner = yield Proposal(decode(space, random_damage(space, rng), budget_bytes), OFFSPRING)
        if winner.share >= 1.0 and winner.damage < parent.damage:
            parent = winner


def _generation(
    stages: Sequence[Stage], mutation: Mutation, parent: Integers, rng: np.random.Generator
) -> Generator[Proposal, Observation, Observation | None]:
    """The best of one generation in its last stage; None where the parent has no offspring."""
    scored: list[Observation] = []
    for number, stage in enumerate(stages):
        candidates: Iterable[Integers] = [each.choice for each in scored[: stage.candidates]]
        if number == 0:
            candidates = mutation.offspring(parent, stage.candidates, rng)
        scored = []
        for choice in candidates:
            scored.append((yield Proposal(choice, OFFSPRING, share=stage.share)))
        scored.sort(key=lambda each: each.damage)
    return scored[0] if scored else None


def _best_baseline(problem: SearchProblem, baselines: Sequence[Observation]) -> Observation | None:
    """Of those that fit, use allowed options only and saw the whole text."""
    usable = [
        each
        for each in baselines
        if np.isfinite(each.damage)
        and each.share >= 1.0
        and problem.space.is_own(each.choice)
        and problem.space.file_bytes(each.choice) <= problem.budget_bytes
    ]
    return min(usable, key=lambda each: each.damage) if usable else None


evolution = partial(GeneratorProposer, partial(_start, DOCUMENTED))
evolution_short = partial(GeneratorProposer, partial(_start, SHORT))
