"""Multiple-choice knapsack: one option for every unit, the least damage within the bytes.

The Lagrangian relaxation gives a lower bound and a start on the convex hull; its leftover bytes are then refilled by
single moves (one unit to a larger option) and exchanges (one unit down, another up) until none helps. Feasibility is
exact; the distance to the bound is reported. Every step is a few passes over arrays of shape [units, options].
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.search.refilling import refill

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MAX_CUTS = 200
ROUNDING = 1e-12
"""Differences below this share of the values are rounding."""


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


@dataclass(frozen=True)
class Relaxation:
    """A choice that fits, a bound that none can beat, and the price of a byte (cost a byte) at which it is reached.

    `excess` [units, options]: how much an option raises the bound where a unit must take it, in units of cost.
    """

    choice: Integers
    lower_bound: float
    price: float
    excess: Floats


def solve(costs: Floats, sizes: Integers, budget: int) -> Assignment:
    """Choose one option a unit.

    costs: [units, options], inf where a unit has no such option. sizes: the same shape, bytes. budget: bytes for all
    units together. Raises ValueError when even the smallest options do not fit.
    """
    relaxed = relax(costs, sizes, budget)
    rows = np.arange(len(costs))
    choice = refill(costs, sizes, budget, relaxed.choice, relaxed.excess, relaxed.lower_bound)
    return Assignment(
        choice=choice,
        cost=float(costs[rows, choice].sum()),
        n_bytes=int(sizes[rows, choice].sum()),
        lower_bound=relaxed.lower_bound,
    )


def relax(costs: Floats, sizes: Integers, budget: int) -> Relaxation:
    """The best feasible point of the Lagrangian's path over the price of a byte, and the dual bound.

    The dual is concave and piecewise linear in the price: the next price is where the lines of the two choices at hand
    cross, one above and one within the budget (cutting planes); where no choice lies below the crossing, it is the top.
    Arguments and errors as of `solve`.
    """
    usable = np.isfinite(costs)
    if not usable.any(axis=1).all():
        raise ValueError("a unit has no usable option")
    rows = np.arange(len(costs))
    priced = np.where(usable, sizes, np.iinfo(np.int64).max // (len(costs) + 1))
    smallest = np.where(priced == priced.min(axis=1, keepdims=True), costs, np.inf).argmin(axis=1)
    if int(sizes[rows, smallest].sum()) > budget:
        raise ValueError("the smallest options together exceed the budget")
    weights = np.where(usable, sizes, 0).astype(np.float64)
    above = costs.argmin(axis=1)
    if int(sizes[rows, above].sum()) <= budget:
        return Relaxation(above, float(costs[rows, above].sum()), 0.0, costs - costs[rows, above][:, None])
    within = smallest
    bound, reduced, bound_price = -np.inf, costs, 0.0
    for _ in range(MAX_CUTS):
        cost_above, bytes_above = float(costs[rows, above].sum()), int(sizes[rows, above].sum())
        cost_within, bytes_within = float(costs[rows, within].sum()), int(sizes[rows, within].sum())
        price = (cost_within - cost_above) / (bytes_above - bytes_within)
        at_price = costs + price * weights
        choice = at_price.argmin(axis=1)
        lowest = float(at_price[rows, choice].sum())
        dual = lowest - price * budget
        if dual > bound:
            bound, reduced, bound_price = dual, at_price, price
        crossing = cost_above + price * bytes_above
        if lowest >= crossing - ROUNDING * abs(crossing):
            break
        if int(sizes[rows, choice].sum()) <= budget:
            within = choice
        else:
            above = choice
    return Relaxation(within, bound, bound_price, reduced - reduced.min(axis=1, keepdims=True))
