"""How far to believe the probes: the trials say whether sensitivities as probed foresaw them, or nothing did.

Four priors compete: the probes' own, one where every weight of the model is equally sensitive (only the types' curve
is kept), and two geometric means of both, each with units as uncertain as it deserves. The one under which the trials
so far are the most likely is taken. So a search whose probes were wrong learns from its trials as one that had none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.search.prior import Prior
from optimizer.search.problem import Observation
from optimizer.search.space import SearchSpace
from optimizer.search.surrogate import DamageModel, Spreads

Floats = npt.NDArray[np.float64]

DOUBTS = {0.0: 0.4, 0.25: 0.5, 0.5: 0.7, 1.0: 1.0}
"""Exponent of the flat prior in the mix -> spread of the units' corrections."""
DOUBT_ODDS = 3.0
"""The probes are right until another prior is more likely by this much in log density."""
FLOOR = 1e-6
"""Share of the largest damage below which a prior damage is not believed (a probe lost in noise)."""


@dataclass(frozen=True)
class Belief:
    """damage: [units, options] in nats per token, inf where there is no option."""

    damage: Floats
    spreads: Spreads


def beliefs(space: SearchSpace, prior: Prior, parameters: Mapping[str, int]) -> tuple[Belief, ...]:
    """The competing priors, the probes' own first. parameters: tensor -> its number of weights."""
    damage = np.where(np.isfinite(prior.damage), prior.damage, np.inf)
    weights = [sum(parameters.get(tensor, 0) for tensor in unit.tensors) for unit in space.units]
    if not all(weights):
        weights = [max(option.n_bytes for option in unit.options) for unit in space.units]
    flat = _flat(damage, prior.type_classes, np.array(weights, dtype=np.float64))
    mixed = []
    for doubt, unit_spread in DOUBTS.items():
        spread = unit_spread * (1.0 if doubt == 1.0 or prior.unit_spread is None else prior.unit_spread)
        with np.errstate(divide="ignore", invalid="ignore"):
            blend = np.where(np.isfinite(damage), damage ** (1 - doubt) * flat**doubt, np.inf) if doubt else damage
        mixed.append(Belief(blend, Spreads(unit=spread)))
    return tuple(mixed)


def likeliest(candidates: Iterable[Belief], prior: Prior, observations: Sequence[Observation]) -> DamageModel:
    """The model of the belief that foresaw the observations best, its level fitted to them; the first has odds."""
    best: tuple[float, DamageModel] | None = None
    for index, belief in enumerate(candidates):
        level = _level(belief.damage, observations)
        model = DamageModel(belief.damage * level, prior.type_classes, observations, belief.spreads)
        evidence = model.log_evidence() + (DOUBT_ODDS if index == 0 else 0.0)
        if best is None or evidence > best[0]:
            best = evidence, model
    if best is None:
        raise ValueError("there is no belief to choose from")
    return best[1]


def _flat(damage: Floats, type_classes: npt.NDArray[np.int64], weights: Floats) -> Floats:
    """Damage if it went by weights and type class alone: the geometric mean a weight within each class."""
    known = np.isfinite(damage)
    floor = FLOOR * float(damage[known].max(initial=0.0)) or 1.0
    log_per_weight = np.log(np.maximum(np.where(known, damage, floor), floor)) - np.log(weights)[:, None]
    n_classes = int(type_classes.max(initial=0)) + 1
    sums = np.bincount(type_classes[known], weights=log_per_weight[known], minlength=n_classes)
    counts = np.bincount(type_classes[known], minlength=n_classes)
    means = sums / np.maximum(counts, 1)
    flat: Floats = np.where(known, np.exp(means[type_classes]) * weights[:, None], np.inf)
    return flat


def _level(damage: Floats, observations: Sequence[Observation]) -> float:
    """Median of measured damage over the prior's: the sum of the parts ranks, it does not forecast."""
    rows = np.arange(len(damage))
    ratios = [
        observation.damage / expected
        for observation in observations
        if (expected := float(damage[rows, observation.choice].sum())) > 0 and np.isfinite(expected)
    ]
    level = float(np.median(ratios)) if ratios else 1.0
    return level if level > 0 else 1.0
