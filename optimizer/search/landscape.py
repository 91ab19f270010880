"""The damage of recipes as a quadratic form, and the way down on it within a budget of bytes.

With z[o] the features of an option, s the signs of their numbers and c[o] an option's cost, a choice's damage is

    sum_o c[o] + 1/2 sum_k s[k] (sum_o z[o, k])^2        nats per token

A step changes one unit, or two of which one pays for the other's bytes. Each takes the step that gains the most.
"""

import numpy as np
import numpy.typing as npt

from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SHORTLIST = 40
"""Changes that are tried in pairs: so many of the best, and of the cheapest by the byte."""
STEPS = 200
LEAST_GAIN = 1e-5
"""Share of the damage that a step must gain."""


class Landscape:
    """features: [units, options, numbers]. signs: [numbers]. costs: [units, options]."""

    def __init__(self, features: Floats, signs: Floats, costs: Floats) -> None:
        self._shape = costs.shape
        # Half the bytes, which are what a step's time goes by.
        features = features.astype(np.float32)
        self._features = features.reshape(costs.size, -1)
        self._signs, self._costs = signs.astype(np.float32), costs.ravel()
        self._starts = np.arange(costs.shape[0]) * costs.shape[1]
        within = ((features * self._signs) @ features.transpose(0, 2, 1)).astype(np.float64)
        lengths = np.diagonal(within, axis1=1, axis2=2)
        self._distances: Floats = lengths[:, :, None] + lengths[:, None, :] - 2 * within
        """[units, options, options]: signed squares of what changes between two options of a unit."""

    def damage(self, choice: Integers) -> float:
        chosen = self._starts + choice
        total = self._features[chosen].sum(axis=0)
        return float(self._costs[chosen].sum() + (self._signs * total) @ total / 2)

    def descend(self, space: SearchSpace, start: Integers, budget_bytes: int) -> Integers:
        """From a choice within the budget to one that no such step makes better."""
        units, options = self._shape
        sizes, allowed = space.sizes.ravel().astype(np.int64), space.allowed.ravel()
        rows, choice, damage = np.arange(units), start.copy(), self.damage(start)
        for _ in range(STEPS):
            chosen = self._starts + choice
            along = self._features @ (self._signs * self._features[chosen].sum(axis=0)) + self._costs
            gains = (along.reshape(self._shape) - along[chosen][:, None] + self._distances[rows, choice] / 2).ravel()
            grown = sizes - np.repeat(sizes[chosen], options)
            left = budget_bytes - space.overhead_bytes - int(sizes[chosen].sum())
            possible = allowed.copy()
            possible[chosen] = False
            fitting = np.where(possible & (grown <= left), gains, np.inf)
            steps, gain = [int(fitting.argmin())], float(fitting.min())
            pair = self._best_pair(chosen, np.flatnonzero(possible), gains, grown, left)
            if pair is not None and pair[0] < gain:
                gain, steps = pair[0], list(pair[1:])
            if not gain < -LEAST_GAIN * damage:
                break
            for option in steps:
                choice[option // options] = option % options
            damage += gain
        return choice

    def _best_pair(
        self, chosen: Integers, moves: Integers, gains: Floats, grown: Integers, left: int
    ) -> tuple[float, int, int] | None:
        """What the best two changes gain together, and the options they change to; the second sheds bytes."""
        options = self._shape[1]
        payers = moves[grown[moves] < 0]
        if not payers.size:
            return None
        payers = payers[_first(gains[payers] / -grown[payers], gains[payers])]
        price = np.median(np.abs(gains[moves]) / np.maximum(np.abs(grown[moves]), 1))
        takers = moves[_first(gains[moves], gains[moves] + price * np.maximum(grown[moves], 0))]
        changes = [self._features[side] - self._features[chosen[side // options]] for side in (takers, payers)]
        both = gains[takers][:, None] + gains[payers] + (changes[0] * self._signs) @ changes[1].T
        both[grown[takers][:, None] + grown[payers] > left] = np.inf
        both[(takers // options)[:, None] == payers // options] = np.inf
        first, second = divmod(int(both.argmin()), len(payers))
        return float(both[first, second]), int(takers[first]), int(payers[second])


def _first(*orders: Floats) -> Integers:
    """The places of the first of each order, together."""
    found = [np.argsort(order, kind="stable")[:SHORTLIST] for order in orders]
    return np.unique(np.concatenate(found)).astype(np.int64)
