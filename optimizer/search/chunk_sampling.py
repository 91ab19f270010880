"""Which chunks a probe sees: few tokens carry most of a text's KLD, so chunks are drawn in proportion to it.

One pilot recipe is measured on the whole text. Chunk c then enters the sample with probability pi_c, which grows
with the pilot's damage there, and counts 1 / (n pi_c) times: the weighted sum is an unbiased estimate of the mean
over all n chunks (Horvitz and Thompson, JASA 47, 1952), and a precise one where a probe suffers where the pilot
does. On the demo model, over 42 probes and 48 chunks, 8 chunks so drawn are off by 25 % (standard deviation of ln),
8 drawn evenly by 61 %, 16 by 36 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

EVENLY = 0.1
"""Part of the probability that goes to all chunks alike, so that none counts without bound."""


@dataclass(frozen=True)
class ChunkSample:
    """Chunk numbers in rising order, and what each one's mean KLD counts in the mean over the whole text."""

    chunks: tuple[int, ...]
    weights: tuple[float, ...]

    def mean(self, by_chunk: Mapping[int, float]) -> tuple[float, float]:
        """The estimate of the mean over the whole text, and its standard error (0 for a single chunk)."""
        parts = [weight * by_chunk[chunk] for chunk, weight in zip(self.chunks, self.weights, strict=True)]
        total, n = sum(parts), len(parts)
        if n < 2:
            return total, 0.0
        return total, sqrt(n / (n - 1) * sum((part - total / n) ** 2 for part in parts))


def first_chunks(count: int) -> ChunkSample:
    """The text's first chunks, all alike."""
    return ChunkSample(tuple(range(count)), (1.0 / count,) * count)


def sample_chunks(pilot: Sequence[float], count: int) -> ChunkSample:
    """`count` of the chunks, by the pilot's mean KLD on each; the same pilot gives the same sample.

    Chunks are passed in the order of their damage, and one is taken at every full step of the summed probabilities
    (systematic sampling), so that mild and severe ones are both there.
    """
    damage = np.maximum(np.nan_to_num(np.array(pilot, dtype=np.float64)), 0.0)
    n = len(damage)
    if count >= n or not damage.sum() > 0:
        return first_chunks(min(count, n))
    share = (1 - EVENLY) * damage / damage.sum() + EVENLY / n
    probability = np.minimum(1.0, count * share)
    for _ in range(count):  # what the certain ones do not need goes to the others
        open_ = probability < 1.0
        left = count - int((~open_).sum())
        raised = np.minimum(1.0, left * share[open_] / share[open_].sum()) if open_.any() else share[open_]
        if np.allclose(raised, probability[open_]):
            break
        probability[open_] = raised
    order = np.argsort(damage, kind="stable")
    steps = np.cumsum(probability[order])
    taken = order[np.searchsorted(steps, np.arange(count) + 0.5)]
    chunks = sorted(int(chunk) for chunk in taken)
    return ChunkSample(tuple(chunks), tuple(1.0 / (n * float(probability[chunk])) for chunk in chunks))
