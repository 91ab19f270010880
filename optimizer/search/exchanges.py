"""Size-neutral exchanges around a choice: one unit a step up, another a step down, within the budget to the byte.

They need no model of the damage: whether an exchange helped is seen by comparing its trial with the incumbent's.
"""

import numpy as np
import numpy.typing as npt

from optimizer.search.space import SearchSpace

Integers = npt.NDArray[np.int64]

ATTEMPTS_A_PAIR = 16
NEAREST = 8
"""A step up is paid by one of so many steps down that waste the fewest bytes."""


def exchange(
    space: SearchSpace, choice: Integers, budget_bytes: int, n_pairs: int, rng: np.random.Generator
) -> Integers:
    """The choice with up to `n_pairs` exchanges, no unit in two of them; within the budget if `choice` is.

    Steps go to the next larger or smaller allowed option. Unchanged where no unit can be exchanged.
    """
    changed = choice.copy()
    rows = np.arange(len(choice))
    allowed_sizes = np.where(space.allowed, space.sizes, -1)
    present = space.sizes[rows, choice]
    grown = allowed_sizes - present[:, None]
    up = np.where(space.allowed & (grown > 0), grown, np.iinfo(np.int64).max)
    down = np.where(space.allowed & (grown < 0), grown, np.iinfo(np.int64).min)
    up_option, down_option = up.argmin(axis=1), down.argmax(axis=1)
    up_bytes, freed = up[rows, up_option], down[rows, down_option]
    free = np.ones(len(choice), dtype=np.bool_)
    leftover = budget_bytes - space.overhead_bytes - int(present.sum())
    can_grow = (up[rows, up_option] < np.iinfo(np.int64).max).nonzero()[0]
    can_shrink = freed > np.iinfo(np.int64).min
    pairs = 0
    for _ in range(ATTEMPTS_A_PAIR * n_pairs):
        if pairs == n_pairs or not len(can_grow):
            break
        riser = int(rng.choice(can_grow))
        if not free[riser]:
            continue
        partners = np.flatnonzero(free & can_shrink & (up_bytes[riser] + np.where(can_shrink, freed, 0) <= leftover))
        partners = partners[partners != riser]
        if not len(partners):
            continue
        nearest = partners[np.argsort(-freed[partners], kind="stable")]
        ties = np.flatnonzero(freed[nearest] == freed[nearest[min(NEAREST, len(nearest)) - 1]])
        payer = int(rng.choice(nearest[: int(ties[-1]) + 1]))
        changed[riser], changed[payer] = up_option[riser], down_option[payer]
        free[[riser, payer]] = False
        leftover -= int(up_bytes[riser] + freed[payer])
        pairs += 1
    return changed
