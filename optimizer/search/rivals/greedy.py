"""Greedy assignment in the manner of GGUF-Tool-Suite's `quant_assign.py --use-greedy-quant-assign`.

Everything starts at its largest type. The step down, to any smaller type, that adds least damage a byte saved is taken
again and again until the bytes fit; then the step up that saves most damage a byte, while one fits. Damage is
sensitivity x curve, here from our probes (its exponent is 1, as it advises where the curve is the model's own).
"""

import heapq
from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from optimizer.search.problem import Proposal, SearchProblem
from optimizer.search.rivals.adapters import OneShotProposer
from optimizer.search.rivals.one_shot import needed_prior
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
GREEDY = "greedy"
Move = tuple[float, int, int, int]
"""Score (least first), unit, from option, to option."""


def assign(space: SearchSpace, damage: Floats, budget_bytes: int) -> Integers:
    """damage: [units, options]. The budget must hold the smallest allowed options."""
    sizes, rows = space.sizes, np.arange(len(space.units))
    choice: Integers = np.where(space.allowed, sizes, -1).argmax(axis=1)
    left = budget_bytes - space.overhead_bytes - int(sizes[rows, choice].sum())

    def moves(unit: int, direction: int) -> Iterator[Move]:
        """Steps of one unit to larger (1) or smaller (-1) options, by damage added a byte moved."""
        start = int(choice[unit])
        for option in np.flatnonzero(space.allowed[unit]):
            grown = int(sizes[unit, option] - sizes[unit, start])
            if grown * direction > 0:
                added = float(damage[unit, option] - damage[unit, start])
                yield added / abs(grown), unit, start, int(option)

    for direction in (-1, 1):
        heap = [move for unit in rows for move in moves(int(unit), direction)]
        heapq.heapify(heap)
        while heap and (direction > 0 or left < 0):
            _, unit, start, option = heapq.heappop(heap)
            grown = int(sizes[unit, option] - sizes[unit, start])
            if choice[unit] != start or (direction > 0 and grown > left):
                continue
            choice[unit] = option
            left -= grown
            for move in moves(unit, direction):
                heapq.heappush(heap, move)
    return choice


def _answer(problem: SearchProblem) -> Proposal:
    damage = needed_prior(problem).damage
    choice = assign(problem.space, damage, problem.budget_bytes)
    return Proposal(choice, GREEDY, float(damage[np.arange(len(choice)), choice].sum()))


greedy = partial(OneShotProposer, _answer)
