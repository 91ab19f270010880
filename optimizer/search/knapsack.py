"""Multiple-choice knapsack: one option for every unit, the least damage within the bytes.

The Lagrangian relaxation gives a lower bound and a start on the convex hull; its leftover bytes are then refilled by
single moves (one unit to a larger option) and exchanges (one unit down, another up) until none helps. Feasibility is
exact; the distance to the bound is reported. Every step is a few passes over arrays of shape [units, options].
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
BISECTION_STEPS = 60
MAX_REFILL_MOVES = 2000


@dataclass(frozen=True)
class Assignment:
    """`choice[u]` is the option of unit u; `lower_bound` is a cost that no assignment within the budget can beat."""

    choice: Integers
    cost: float
    n_bytes: int
    lower_bound: float

    @property
    def gap(self) -> float:
        """How far above the bound the cost lies, as a share of the bound's magnitude (0 = proven optimal)."""
        scale = max(abs(self.lower_bound), 1e-300)
        return max(0.0, (self.cost - self.lower_bound) / scale)


def solve(costs: Floats, sizes: Integers, budget: int) -> Assignment:
    """Choose one option a unit.

    costs: [units, options], inf where a unit has no such option. sizes: the same shape, bytes. budget: bytes for all
    units together. Raises ValueError when even the smallest options do not fit.
    """
    usable = np.isfinite(costs)
    if not usable.any(axis=1).all():
        raise ValueError("a unit has no usable option")
    rows = np.arange(len(costs))
    priced = np.where(usable, sizes, np.iinfo(np.int64).max // (len(costs) + 1))
    smallest = priced.argmin(axis=1)
    if int(sizes[rows, smallest].sum()) > budget:
        raise ValueError("the smallest options together exceed the budget")
    choice, lower_bound = _relax(costs, sizes, budget, rows, smallest)
    choice = _refill(costs, sizes, budget, choice)
    return Assignment(
        choice=choice,
        cost=float(costs[rows, choice].sum()),
        n_bytes=int(sizes[rows, choice].sum()),
        lower_bound=lower_bound,
    )


def _relax(costs: Floats, sizes: Integers, budget: int, rows: Integers, smallest: Integers) -> tuple[Integers, float]:
    """The best feasible point of the Lagrangian's path over the price of a byte, and the dual bound."""
    weights = np.where(np.isfinite(costs), sizes, 0).astype(np.float64)

    def at_price(price: float) -> tuple[Integers, int, float]:
        reduced = costs + price * weights
        choice = reduced.argmin(axis=1)
        dual = float(reduced[rows, choice].sum() - price * budget)
        return choice, int(sizes[rows, choice].sum()), dual

    choice, n_bytes, bound = at_price(0.0)
    if n_bytes <= budget:
        return choice, bound
    spread = float(np.max(np.where(np.isfinite(costs), costs, -np.inf)) - np.min(costs)) or 1.0
    low, high = 0.0, spread
    best = smallest
    for _ in range(BISECTION_STEPS):  # a price so high that everything is smallest
        choice, n_bytes, dual = at_price(high)
        bound = max(bound, dual)
        if n_bytes <= budget:
            best = choice
            break
        high *= 16
    for _ in range(BISECTION_STEPS):
        price = (low * high) ** 0.5 if low > 0 else high / 1024
        choice, n_bytes, dual = at_price(price)
        bound = max(bound, dual)
        if n_bytes <= budget:
            high, best = price, choice
        else:
            low = price
        if low > 0 and high / low < 1 + 1e-12:
            break
    return best, bound


def _refill(costs: Floats, sizes: Integers, budget: int, choice: Integers) -> Integers:
    """Spend leftover bytes: the best single move or exchange, again and again, while one lowers the cost."""
    choice = choice.copy()
    rows = np.arange(len(costs))
    for _ in range(MAX_REFILL_MOVES):
        saved = costs[rows, choice][:, None] - costs
        grown = sizes - sizes[rows, choice][:, None]
        leftover = budget - int(sizes[rows, choice].sum())
        move = _best_exchange(saved, grown, leftover)
        if move is None:
            return choice
        for unit, option in move:
            choice[unit] = option
    return choice


def _best_exchange(saved: Floats, grown: Integers, leftover: int) -> list[tuple[int, int]] | None:
    """The one or two moves in different units that save most and grow by at most `leftover` bytes together."""
    n_units, n_options = saved.shape
    units = np.repeat(np.arange(n_units), n_options)
    flat_saved, flat_grown = saved.ravel(), grown.ravel()
    valid = np.isfinite(flat_saved)
    tolerance = 1e-12 * max(1e-300, float(np.abs(flat_saved[valid]).max(initial=0.0)))
    best_gain, best_move = tolerance, None
    single = valid & (flat_grown <= leftover)
    if single.any():
        index = int(np.argmax(np.where(single, flat_saved, -np.inf)))
        if flat_saved[index] > best_gain:
            best_gain, best_move = float(flat_saved[index]), [index]
    ups = np.flatnonzero(valid & (flat_saved > best_gain))
    downs = np.flatnonzero(valid & (flat_grown < 0))
    if len(ups) and len(downs):
        pair = _best_pair(ups, downs, units, flat_saved, flat_grown, leftover, best_gain)
        if pair is not None:
            best_move = pair
    if best_move is None:
        return None
    return [(int(units[index]), int(index % n_options)) for index in best_move]


def _best_pair(
    ups: Integers,
    downs: Integers,
    units: Integers,
    saved: Floats,
    grown: Integers,
    leftover: int,
    at_least: float,
) -> list[int] | None:
    """For each step up, the cheapest step down of another unit that frees enough; kept are the best two by unit."""
    order = downs[np.argsort(grown[downs], kind="stable")]  # frees most first
    first, second = _running_best_two(saved[order], units[order])
    need = leftover - grown[ups]  # the step down may grow by at most this (a negative number)
    reach = np.searchsorted(grown[order], need, side="right") - 1
    reachable = reach >= 0
    if not reachable.any():
        return None
    ups, reach = ups[reachable], reach[reachable]
    partner = np.where(units[order[first[reach]]] != units[ups], first[reach], second[reach])
    gain = np.where(partner >= 0, saved[ups] + saved[order[partner]], -np.inf)
    index = int(np.argmax(gain))
    if gain[index] <= at_least:
        return None
    return [int(ups[index]), int(order[partner[index]])]


def _running_best_two(values: Floats, units: Integers) -> tuple[Integers, Integers]:
    """Positions of the best value so far, and of the best so far among the other units (-1: none yet)."""
    first = np.empty(len(values), dtype=np.int64)
    second = np.empty(len(values), dtype=np.int64)
    best, runner_up = 0, -1
    for position in range(len(values)):
        if values[position] > values[best]:
            if units[position] != units[best]:
                runner_up = best
            best = position
        elif units[position] != units[best] and (runner_up < 0 or values[position] > values[runner_up]):
            runner_up = position
        first[position], second[position] = best, runner_up
    return first, second
