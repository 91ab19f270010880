"""Sensitivities as the surrogate wants them: expected damage of every option, and which options share a correction."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.search.probes import Sensitivities
from optimizer.search.space import SearchSpace


@dataclass(frozen=True)
class Prior:
    """Both [units, options]: damage in nats per token (inf where there is no option), and the class of the option.

    unit_spread: where the units' sensitivities are another model's, how many times wider than for measured ones
    their own errors are to be taken; None where they were measured on this model.
    """

    damage: npt.NDArray[np.float64]
    type_classes: npt.NDArray[np.int64]
    unit_spread: float | None = None


def make_prior(space: SearchSpace, sensitivities: Sensitivities) -> Prior:
    """An option's damage is the sum over its tensors; options of one name (a type, a layer type) form a class."""
    damage = np.full(space.shape, np.inf)
    classes = np.zeros(space.shape, dtype=np.int64)
    known: dict[str, int] = {}
    for row, unit in enumerate(space.units):
        for column, option in enumerate(unit.options):
            damage[row, column] = sum(sensitivities.damage(t, kind) for t, kind in option.tensor_types.items())
            classes[row, column] = known.setdefault(option.name, len(known))
    return Prior(damage, classes, sensitivities.unit_spread)
