"""How far predictions can be believed: predicted against measured KLD of the same recipes.

Spearman's coefficient says whether the order is right, the median ratio whether the level is, and the spread how far a
single prediction is off once the level is put right. Where predictions carry a standard deviation, two of them must
hold about 95 % of what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np
import numpy.typing as npt

MIN_PAIRS = 3
"""Fewer say nothing of order or spread."""
MIN_FORECASTS = 8
"""Fewer of the surrogate's own proposals do not prove it wrong; of more, these latest count."""
MIN_ORDERED = 16
"""The same for the order of proposals, which is noisier."""
MISLED_SHARE = 0.75
"""Part of the latest proposals that must have misled."""
WRONG_ORDER = 0.2
"""Spearman's coefficient below which the order is no better than chance."""
RESOLVED = 3.0
"""Differences of fewer standard deviations of the noise prove nothing."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Honesty:
    """pairs: those with both values positive and finite. A field is None where there are too few to tell.

    spearman: rank correlation, 1 where the order of all is right. median_ratio: of measured / predicted.
    spread: standard deviation of ln(measured / predicted). covered: share measured within two standard deviations
    of the prediction.
    """

    pairs: int
    spearman: float | None
    median_ratio: float | None
    spread: float | None
    covered: float | None = None


@dataclass(frozen=True)
class Forecast:
    """A proposal of the surrogate's as it was predicted and measured, in nats per token.

    standard_deviation: the prediction's own. incumbent: the best measured before it. noise: standard deviation of the
    difference of two measurements.
    """

    predicted: float
    standard_deviation: float
    measured: float
    incumbent: float
    noise: float

    @property
    def misled(self) -> bool:
        """Measured clearly worse than the incumbent, and most of that was not foreseen."""
        behind, foreseen = self.measured - self.incumbent, self.predicted - self.incumbent
        return behind > RESOLVED * self.noise and foreseen < behind / 2


def assess(pairs: Sequence[tuple[float, float]], standard_deviations: Sequence[float | None] = ()) -> Honesty:
    """pairs: (predicted, measured) in nats per token, in any order; others than positive finite ones are left out.

    standard_deviations: of the predictions, one a pair; None where it is not known.
    """
    table = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    deviations = np.full(len(table), np.nan)
    if len(standard_deviations):
        deviations[:] = [np.nan if each is None else each for each in standard_deviations]
    kept = np.isfinite(table).all(axis=1) & (table > 0).all(axis=1)
    table, deviations = table[kept], deviations[kept]
    if not len(table):
        return Honesty(0, None, None, None)
    predicted, measured = table[:, 0], table[:, 1]
    log_ratio = np.log(measured / predicted)
    median_ratio = float(np.exp(np.median(log_ratio)))
    known = np.isfinite(deviations)
    within = np.abs(measured - predicted)[known] <= 2 * deviations[known]
    covered = float(within.mean()) if len(within) >= MIN_PAIRS else None
    if len(table) < MIN_PAIRS:
        return Honesty(len(table), None, median_ratio, None, covered)
    return Honesty(len(table), _spearman(predicted, measured), median_ratio, float(np.std(log_ratio, ddof=1)), covered)


def is_wrong(forecasts: Sequence[Forecast]) -> bool:
    """Whether the latest forecasts show that the surrogate leads nowhere.

    Either most of its proposals were worse than the incumbent by far more than predicted, or differences that are
    clearly above the noise came in an order that it did not foresee, none of them better than the incumbent.
    """
    if len(forecasts) < MIN_FORECASTS:
        return False
    if sum(forecast.misled for forecast in forecasts[-MIN_FORECASTS:]) >= MISLED_SHARE * MIN_FORECASTS:
        return True
    latest = forecasts[-MIN_ORDERED:]
    if len(latest) < MIN_ORDERED or any(forecast.measured < forecast.incumbent for forecast in latest):
        return False
    noise = float(np.median([forecast.noise for forecast in latest]))
    quartiles = np.quantile([forecast.measured for forecast in latest], (0.25, 0.75))
    order = assess([(forecast.predicted, forecast.measured) for forecast in latest]).spearman
    resolved = quartiles[1] - quartiles[0] > RESOLVED * noise
    return bool(resolved and (order is None or order < WRONG_ORDER))


def paired_noise(model_error: float, measured_error: float, damage: float) -> float:
    """Noise of a difference of two trials: both kinds of error, in both."""
    return 2**0.5 * hypot(model_error * damage, measured_error)


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
