"""From damages to a choice that fits the budget: every sampler ends here."""

import numpy as np
import numpy.typing as npt

from optimizer.search.exact import solve_exactly
from optimizer.search.knapsack import Assignment, solve
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def decode(space: SearchSpace, damage: Floats, budget_bytes: int) -> Integers:
    """The choice of least damage ([units, options]) that fits; only allowed options."""
    costs = np.where(space.allowed, damage, np.inf)
    return solve(costs, space.sizes, budget_bytes - space.overhead_bytes).choice


def decode_exactly(space: SearchSpace, damage: Floats, budget_bytes: int) -> Assignment:
    """The same with a proof: `gap` 0 where no choice within the budget has less damage."""
    costs = np.where(space.allowed, damage, np.inf)
    return solve_exactly(costs, space.sizes, budget_bytes - space.overhead_bytes)


def random_damage(space: SearchSpace, rng: np.random.Generator) -> Floats:
    """Damage that knows nothing but that fewer bytes hurt more: a random weight a unit over each option's bytes."""
    weights = rng.exponential(1.0, (len(space.units), 1))
    smallest = np.where(space.allowed, space.sizes, np.iinfo(np.int64).max).min(axis=1, keepdims=True)
    relative: Floats = space.sizes / smallest
    damage: Floats = weights * np.exp(-3.0 * (relative - 1.0)) * smallest
    return damage
