"""What second probes tell: options of a unit that were measured themselves, and the prior that follows them.

First probes measure every part at one type, and a curve per type carries that to all options. A knapsack then takes
what happens to look good, which is where the product is wrong most. So options that it would take are probed as well.
With r = ln(measured / expected) of each, the correction of an option's ln damage is a Gaussian process of mean
g = median of all r, and covariance, between options of one unit of b and b' bits per weight,

    LEVEL^2 + SHAPE^2 exp(-|b - b'|) + OPTION^2 [same option]

the unit's own level, a shape over bits, and what only that option has. Between units there is none. What all looks have
in common, g, is mostly which chunks they saw, so it goes to everything.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log, sqrt

import numpy as np
import numpy.typing as npt

from optimizer.search.decoding import decode
from optimizer.search.prior import Prior
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Place = tuple[int, int]
"""Index of a unit, and of one of its options."""

LEVEL, SHAPE, OPTION = 0.35, 0.35, 0.15
"""Standard deviations of ln damage, chosen for simulations on the demo model's full table (docs/log.md)."""
NOISE = 0.25
"""Standard deviation of ln(measured) from the few chunks that a second probe sees; chosen with them."""
MOST_OFF = log(8)
"""No measurement says more than this: what is measured as nothing, or below it, is lost in the noise."""


@dataclass(frozen=True)
class Look:
    """A unit and option index; `ratio`: ln(measured / expected), and its standard deviation."""

    unit: int
    option: int
    ratio: float
    noise: float = NOISE


def log_ratio(measured: float, expected: float) -> float:
    """ln(measured / expected) within bounds; `expected` is above 0."""
    return float(np.clip(log(max(measured / expected, 1e-12)), -MOST_OFF, MOST_OFF))


def ratio_noise(measured: float, standard_error: float, expected: float) -> float:
    """Standard deviation of `log_ratio`, where both are differences from a base with noise of its own."""
    return max(NOISE, standard_error / max(measured, expected * exp(-MOST_OFF)))


class Looks:
    """The corrected prior of a space. parameters: tensor -> its number of weights. done: places never wanted."""

    def __init__(
        self, space: SearchSpace, prior: Prior, parameters: Mapping[str, int], done: Iterable[Place] = ()
    ) -> None:
        self._space, self._prior, self._done = space, prior, {*done}
        weights = np.array([sum(parameters[tensor] for tensor in unit.tensors) for unit in space.units])
        self._bits: Floats = 8 * space.sizes / weights[:, None]
        self._known = np.isfinite(prior.damage)
        self._level = LEVEL * (prior.unit_spread or 1.0)
        self._taken: dict[Place, Look] = {}
        self._log_factor: Floats = np.zeros(space.shape)
        self._deviation: Floats = np.zeros(space.shape)
        self._follow()

    @property
    def prior(self) -> Prior:
        """With the damages as they are now expected."""
        return replace(self._prior, damage=self._damage())

    def expected(self, place: Place) -> float:
        """Damage of a unit's option before anybody looked, nats per token."""
        return float(self._prior.damage[place])

    def add(self, looks: Iterable[Look]) -> None:
        self._taken.update({(look.unit, look.option): look for look in looks})
        self._done.update(self._taken)
        self._follow()

    def wanted(self, budgets: Sequence[int], most: int) -> list[Place]:
        """Units and options to look at next: of what the knapsack takes at these budgets (bytes) and nobody has looked
        at, those whose damage is the least certain, at most so many.
        """
        damage = self._damage()
        uncertain: dict[Place, float] = {}
        for budget in budgets:
            for unit, option in enumerate(decode(self._space, damage, budget)):
                place = unit, int(option)
                if place not in self._done and len(self._space.units[unit].options) > 1:
                    uncertain[place] = float(damage[place] * self._deviation[place])
        return sorted(uncertain, key=lambda place: (-uncertain[place], place))[:most]

    def _damage(self) -> Floats:
        return np.where(self._known, self._prior.damage * np.exp(self._log_factor), np.inf)

    def _follow(self) -> None:
        common = float(np.median([look.ratio for look in self._taken.values()])) if self._taken else 0.0
        by_unit: dict[int, list[Look]] = {}
        for look in self._taken.values():
            by_unit.setdefault(look.unit, []).append(look)
        self._log_factor[:] = common
        self._deviation[:] = sqrt(self._level**2 + SHAPE**2 + OPTION**2)
        for unit, looks in by_unit.items():
            seen = np.array([look.option for look in looks])
            own = np.array([look.ratio for look in looks]) - common
            options = np.arange(self._space.shape[1])
            noise = np.diag([look.noise**2 for look in looks])
            cross = self._covariance(unit, options, seen)
            gain = np.linalg.solve(self._covariance(unit, seen, seen) + noise, cross.T).T
            self._log_factor[unit] += gain @ own
            variance = self._deviation[unit] ** 2 - (gain * cross).sum(axis=1)
            self._deviation[unit] = np.sqrt(np.maximum(variance, 0.0))

    def _covariance(self, unit: int, options: Integers, others: Integers) -> Floats:
        bits = self._bits[unit]
        near = np.exp(-np.abs(bits[options][:, None] - bits[others]))
        covariance: Floats = self._level**2 + SHAPE**2 * near + OPTION**2 * (options[:, None] == others)
        return covariance
