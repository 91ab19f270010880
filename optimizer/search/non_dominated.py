"""Which of many are worth a choice: those that no other beats on two figures at once."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def non_dominated(items: Iterable[Item], figures: Callable[[Item], tuple[float, float]]) -> list[Item]:
    """Ordered by the first figure; the second falls strictly along the result. Less is better for both.

    Of items that are equal in both the first one stays.
    """
    kept: list[Item] = []
    for item in sorted(items, key=figures):
        if not kept or figures(item)[1] < figures(kept[-1])[1]:
            kept.append(item)
    return kept
