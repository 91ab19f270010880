"""What is summed while a text runs through a model: one array and its counts a weight, nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import count

import numpy as np
from numpy.typing import NDArray

_UNTOUCHED = 0
_states = count(1)


@dataclass(slots=True)
class WeightSums:
    """Sums of squared activations of one weight. sums: float32 [matrices, columns]; counts: int64 [matrices] or [1].

    Two weights of equal `state` and shape have equal values: they saw the same activations and nothing else.
    """

    sums: NDArray[np.float32]
    counts: NDArray[np.int64]
    state: int = _UNTOUCHED

    def changed(self) -> None:
        self.state = next(_states)

    def take(self, other: WeightSums) -> None:
        """Become equal to a weight that saw the same activations."""
        np.copyto(self.sums, other.sums)
        np.copyto(self.counts, other.counts)
        self.state = other.state


@dataclass(slots=True)
class ActivationSums:
    """Weight name -> its sums, in the order in which the model used them first."""

    weights: dict[str, WeightSums] = field(default_factory=dict)

    def weight(self, name: str, matrices: int, columns: int, counts: int) -> WeightSums:
        """The sums of a weight, zero at first."""
        found = self.weights.get(name)
        if found is None:
            found = WeightSums(np.zeros((matrices, columns), np.float32), np.zeros(counts, np.int64))
            self.weights[name] = found
        return found

    def recognise_equals(self) -> None:
        """Give weights of equal values equal states, after reading them from disk."""
        known: dict[bytes, int] = {}
        for weight in self.weights.values():
            digest = hashlib.sha256(weight.counts.tobytes() + weight.sums.data).digest()
            weight.state = known.setdefault(digest, next(_states))

    @property
    def largest_count(self) -> int:
        return max((int(weight.counts.max()) for weight in self.weights.values()), default=0)
