"""Spending the bytes that a relaxation leaves: single moves and exchanges until none lowers the cost.

Only options that can be part of a better assignment are looked at: with the bound L, an option that raises the bound by
e where its unit must take it is in no assignment cheaper than L + e (reduced-cost fixing). Few are left.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MAX_MOVES = 2000


def refill(
    costs: Floats, sizes: Integers, budget: int, choice: Integers, excess: Floats, lower_bound: float
) -> Integers:
    """The best single move or exchange, again and again, while one lowers the cost.

    excess: [units, options] by how much an option raises the bound.
    """
    choice = choice.copy()
    rows = np.arange(len(costs))
    with np.errstate(invalid="ignore"):
        for _ in range(MAX_MOVES):
            cost = float(costs[rows, choice].sum())
            units, options = np.nonzero(excess <= (cost - lower_bound) * (1 + 1e-9) + 1e-12 * abs(cost))
            taken = choice[units]
            saved = costs[units, taken] - costs[units, options]
            grown = sizes[units, options] - sizes[units, taken]
            kept = np.isfinite(saved) & (options != taken)
            move = _best_move(
                saved[kept], grown[kept], units[kept], budget - int(sizes[rows, choice].sum()), 1e-12 * abs(cost)
            )
            if not move:
                break
            for index in move:
                choice[units[kept][index]] = options[kept][index]
    return choice


def _best_move(saved: Floats, grown: Integers, units: Integers, leftover: int, at_least: float) -> list[int]:
    """The one or two moves in different units that save most and grow by at most `leftover` bytes together."""
    best_gain, best_move = at_least, list[int]()
    single = np.flatnonzero((grown <= leftover) & (saved > best_gain))
    if len(single):
        index = int(single[np.argmax(saved[single])])
        best_gain, best_move = float(saved[index]), [index]
    ups = np.flatnonzero(saved > best_gain)
    downs = np.flatnonzero(grown < 0)
    if not len(ups) or not len(downs):
        return best_move
    return _best_pair(ups, downs, saved, grown, units, leftover, best_gain) or best_move


def _best_pair(
    ups: Integers, downs: Integers, saved: Floats, grown: Integers, units: Integers, leftover: int, at_least: float
) -> list[int]:
    """For each step up, the cheapest step down of another unit that frees enough."""
    order = downs[np.argsort(grown[downs], kind="stable")]  # frees most first
    values = saved[order]
    reach = np.searchsorted(grown[order], leftover - grown[ups], side="right")  # so many steps down free enough
    ups, reach = ups[reach > 0], reach[reach > 0]
    if not len(ups):
        return []
    is_best = values >= np.maximum.accumulate(values)
    first = np.maximum.accumulate(np.where(is_best, np.arange(len(values)), 0))[reach - 1]
    gain = saved[ups] + values[first]
    other = units[order[first]] != units[ups]
    best_gain, best_pair = at_least, list[int]()
    if other.any():
        index = int(np.argmax(np.where(other, gain, -np.inf)))
        if gain[index] > best_gain:
            best_gain, best_pair = float(gain[index]), [int(ups[index]), int(order[first[index]])]
    same = np.flatnonzero(~other & (gain > best_gain))  # the cheapest is of the very unit: look for the next
    for index in same[np.argsort(-gain[same], kind="stable")]:
        if gain[index] <= best_gain:
            break
        allowed = np.where(units[order[: reach[index]]] != units[ups[index]], values[: reach[index]], -np.inf)
        partner = int(np.argmax(allowed))
        if saved[ups[index]] + allowed[partner] > best_gain:
            best_gain = float(saved[ups[index]] + allowed[partner])
            best_pair = [int(ups[index]), int(order[partner])]
    return best_pair
