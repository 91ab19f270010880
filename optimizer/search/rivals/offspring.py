"""Size-neutral mutation of a choice: some units one level up, others down until the bytes fit again.

As in EvoPress for layers of unequal size (evo_quant_search.py, `--group_rule none`): the number of steps up is the
smaller of two uniform draws from 1 to 3; an offspring is dropped when it took more than ten steps, or when the bytes
added are less than 0.8 of those removed. Bytes left over are then spent by the knapsack, which may only raise units.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from optimizer.search.knapsack import solve
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MOST_STEPS_UP = 3
MOST_STEPS = 10
LEAST_BYTES_KEPT = 0.8
MOST_MISSES = 100
"""Mutations one after another that give nothing new, after which the parent counts as having no more offspring."""


class Mutation:
    """Makes offspring of one problem. Levels of a unit are its allowed options, few bytes first."""

    def __init__(self, space: SearchSpace, damage: Floats, budget_bytes: int) -> None:
        """damage: [units, options], what leftover bytes are spent by."""
        self._space = space
        self._damage = damage
        self._bytes = budget_bytes - space.overhead_bytes
        largest = np.iinfo(np.int64).max
        self._ladder = np.argsort(np.where(space.allowed, space.sizes, largest), axis=1, kind="stable")
        self._highest = space.allowed.sum(axis=1) - 1
        self._rows = np.arange(len(space.units))

    def offspring(self, parent: Integers, wanted: int, rng: np.random.Generator) -> Iterator[Integers]:
        """Up to `wanted` choices that differ from the parent and from each other; fewer where the space has no more."""
        seen, misses = {parent.tobytes()}, 0
        while len(seen) <= wanted and misses < MOST_MISSES:
            misses += 1
            mutated = self._mutate(parent, rng)
            if mutated is None:
                continue
            choice = self._refilled(mutated)
            if choice.tobytes() not in seen:
                seen.add(choice.tobytes())
                misses = 0
                yield choice

    def _mutate(self, parent: Integers, rng: np.random.Generator) -> Integers | None:
        sizes = self._space.sizes
        level = np.argmax(self._ladder == parent[:, None], axis=1)
        used = int(sizes[self._rows, parent].sum())
        added = removed = 0
        steps = int(min(rng.integers(1, MOST_STEPS_UP + 1), rng.integers(1, MOST_STEPS_UP + 1)))
        for _ in range(steps):
            grown = self._step(level, np.flatnonzero(level < self._highest), 1, rng)
            added += grown
        while used + added - removed > self._bytes:
            steps += 1
            if steps > MOST_STEPS:
                return None
            removed -= self._step(level, np.flatnonzero(level > 0), -1, rng)
        if added < LEAST_BYTES_KEPT * removed:
            return None
        mutated: Integers = self._ladder[self._rows, level]
        return mutated

    def _step(self, level: Integers, movable: Integers, direction: int, rng: np.random.Generator) -> int:
        """Move one random unit in place; returns the bytes it grew by (0 where none can move)."""
        if not len(movable):
            return 0
        unit = int(rng.choice(movable))
        sizes, ladder = self._space.sizes[unit], self._ladder[unit]
        before = int(sizes[ladder[level[unit]]])
        level[unit] += direction
        return int(sizes[ladder[level[unit]]]) - before

    def _refilled(self, choice: Integers) -> Integers:
        sizes = self._space.sizes
        usable = self._space.allowed & (sizes > sizes[self._rows, choice][:, None])
        usable[self._rows, choice] = True
        return solve(np.where(usable, self._damage, np.inf), sizes, self._bytes).choice
