"""What a way of proposing recipes knows before any trial, and how it is told of trials and asked for the next.

Every sampler, ours and those it is compared with, is a `Proposer` over the same problem and the same knapsack decode.
It must be a function of the problem, the seed and the trials told so far: a search that was killed builds it anew,
tells it the history, and gets the same proposals.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from optimizer.search.prior import Prior
from optimizer.search.space import SearchSpace

Integers = npt.NDArray[np.int64]

PAIRED_SHARE = 0.25
"""Part of a trial's standard error that differs between recipes: most of it is which text all of them were shown."""


@dataclass(frozen=True)
class SearchProblem:
    """parameters: quantizable tensor -> its number of weights. prior: None where the sampler needs no probes.

    errors: (tensor, type) -> relative weight error (optimizer/quantization/weight_error.py), for samplers that want it.
    """

    space: SearchSpace
    budget_bytes: int
    parameters: Mapping[str, int]
    seed: int
    prior: Prior | None = None
    errors: Mapping[tuple[str, str], float] | None = None


@dataclass(frozen=True)
class Observation:
    """A trial: option index a unit, its damage in nats per token (inf where it failed), and its standard error.

    share: part of the full text's chunks that it saw; below 1 the damage is an estimate of the full text's, and
    `paired_error` the standard error of that beside others on the same chunks.
    """

    choice: Integers
    damage: float
    standard_error: float
    share: float = 1.0
    paired_error: float = 0.0

    @property
    def noise(self) -> float:
        """Standard error of the difference between two recipes on one text, nats per token."""
        return max(PAIRED_SHARE * self.standard_error, self.paired_error)


@dataclass(frozen=True)
class Proposal:
    """`share`: part of the full text's chunks that the trial may see at most (1: all, if the race lets it)."""

    choice: Integers
    origin: str
    predicted_damage: float | None = None
    share: float = 1.0
    predicted_standard_error: float | None = None


class Proposer(Protocol):
    def tell(self, observation: Observation, *, own: bool) -> None:
        """A trial has ended. Trials come in the order of their numbers; own: `ask` proposed it, it was no baseline."""

    def ask(self, number: int) -> Proposal:
        """The recipe of trial `number`. Every proposal fits the budget to the byte and uses allowed options only."""


@runtime_checkable
class KnowsPending(Protocol):
    """A proposer that takes into account what it has proposed and not heard of yet; `ask` notes that by itself."""

    def pend(self, choice: Integers) -> None:
        """This was proposed, by an earlier run of the search, and has not ended."""
