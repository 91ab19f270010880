"""How far predictions can be believed: predicted against measured KLD of the same recipes.

Spearman's coefficient says whether the order is right, the median ratio whether the level is, and the spread how far a
single prediction is off once the level is put right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIN_PAIRS = 3
"""Fewer say nothing of order or spread."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Honesty:
    """pairs: those with both values positive and finite. A field is None where there are too few to tell.

    spearman: rank correlation, 1 where the order of all is right. median_ratio: of measured / predicted.
    spread: standard deviation of ln(measured / predicted).
    """

    pairs: int
    spearman: float | None
    median_ratio: float | None
    spread: float | None


def assess(pairs: Sequence[tuple[float, float]]) -> Honesty:
    """pairs: (predicted, measured) in nats per token, in any order; others than positive finite ones are left out."""
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1) & (table > 0).all(axis=1)]
    if not len(table):
        return Honesty(0, None, None, None)
    predicted, measured = table[:, 0], table[:, 1]
    log_ratio = np.log(measured / predicted)
    median_ratio = float(np.exp(np.median(log_ratio)))
    if len(table) < MIN_PAIRS:
        return Honesty(len(table), None, median_ratio, None)
    return Honesty(len(table), _spearman(predicted, measured), median_ratio, float(np.std(log_ratio, ddof=1)))


def _spearman(first: Floats, second: Floats) -> float | None:
    """Pearson's coefficient of the ranks; None where one side is all equal."""
    a, b = _ranks(first), _ranks(second)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: Floats = (ends - (counts + 1) / 2)[inverse]
    return ranks
