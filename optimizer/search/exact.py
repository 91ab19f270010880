"""The multiple-choice knapsack with a proof: the best choice within the bytes, or how much better one could be.

Units are decided one after another. A partial choice is dropped where another one costs no more and takes no more bytes
(dominance), or where even the Lagrangian's bound on the undecided units leaves it above the best known choice
(branch and bound). What is left at the end is optimal. Where more than `max_states` partial choices are left at
once, those of the highest bounds are dropped; the lowest of the dropped bounds then limits what was missed.
Source: Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 83 (1995).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.search.knapsack import ROUNDING, Assignment, relax, solve

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
MAX_STATES = 100_000


@dataclass(frozen=True)
class _States:
    """Partial choices: bytes and cost of the decided units, the state each came from, and the option it added."""

    n_bytes: Integers
    costs: Floats
    parents: Integers
    options: Integers


def solve_exactly(costs: Floats, sizes: Integers, budget: int, max_states: int = MAX_STATES) -> Assignment:
    """As `knapsack.solve`, and never worse; `gap` is 0 where the choice is proven optimal (to rounding)."""
    known = solve(costs, sizes, budget)
    relaxed = relax(costs, sizes, budget)
    scale = float(np.abs(costs[np.isfinite(costs)]).max(initial=0.0)) or 1.0
    slack = ROUNDING * scale * len(costs)
    if known.cost <= relaxed.lower_bound + slack:
        return Assignment(known.choice, known.cost, known.n_bytes, known.cost)
    spread = np.where(np.isfinite(costs), sizes, -1).max(axis=1) - np.where(np.isfinite(costs), sizes, 2**62).min(
        axis=1
    )
    order = np.argsort(-spread, kind="stable")
    reduced = costs[order] + relaxed.price * sizes[order]
    # of the undecided units: the least bytes they take, and the least they cost with every byte at its price
    least_bytes = np.append(np.cumsum(np.where(np.isfinite(costs), sizes, 2**40).min(axis=1)[order][::-1])[::-1], 0)
    least_cost = np.append(np.cumsum(reduced.min(axis=1)[::-1])[::-1], 0.0)
    stages: list[_States] = []
    n_bytes, totals, missed = np.zeros(1, dtype=np.int64), np.zeros(1), np.inf
    for step, unit in enumerate(order):
        options = np.flatnonzero(relaxed.excess[unit] <= known.cost - relaxed.lower_bound + slack)
        grown = (n_bytes[:, None] + sizes[unit, options]).ravel()
        cost = (totals[:, None] + costs[unit, options]).ravel()
        bounds = cost + least_cost[step + 1] - relaxed.price * (budget - grown)
        kept = np.flatnonzero((grown + least_bytes[step + 1] <= budget) & (bounds < known.cost - slack))
        kept = kept[_undominated(grown[kept], cost[kept])]
        if len(kept) > max_states:
            kept = kept[np.argsort(bounds[kept], kind="stable")]
            missed = min(missed, float(bounds[kept[max_states]]))
            kept = kept[:max_states]
        if not len(kept):  # nothing beats what is known
            return _bounded(known, missed)
        stages.append(_States(grown[kept], cost[kept], kept // len(options), options[kept % len(options)]))
        n_bytes, totals = grown[kept], cost[kept]
    best = int(np.argmin(totals))
    if totals[best] >= known.cost:  # the states that led to less were dropped
        return _bounded(known, missed)
    choice = np.zeros(len(costs), dtype=np.int64)
    state = best
    for unit, stage in zip(order[::-1], stages[::-1], strict=True):
        choice[unit] = stage.options[state]
        state = int(stage.parents[state])
    found = Assignment(choice, float(totals[best]), int(n_bytes[best]), float(totals[best]))
    return _bounded(found, missed)


def _bounded(found: Assignment, missed: float) -> Assignment:
    return Assignment(found.choice, found.cost, found.n_bytes, min(found.cost, missed))


def _undominated(n_bytes: Integers, costs: Floats) -> Integers:
    """Indices of those that cost less than all that take no more bytes; of equals the first."""
    order = np.lexsort((costs, n_bytes))
    ordered = costs[order]
    lowest_before = np.minimum.accumulate(np.append(np.inf, ordered[:-1]))
    kept: Integers = order[ordered < lowest_before]
    return kept
