"""What a greedy generation came to: the final number, an exact loop at its tail, or neither."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

LONGEST_PERIOD = 128
FEWEST_COPIES = 4
FEWEST_TOKENS = 48


class Verdict(Enum):
    STOPPED = "stopped"
    LOOP = "loop"
    OUT_OF_TOKENS = "out of tokens"


def tail_period(tokens: Sequence[int]) -> int | None:
    """Smallest period with which the tail repeats exactly, at least 4 copies and 48 tokens of it; None without one."""
    for period in range(1, min(LONGEST_PERIOD, len(tokens) // 2) + 1):
        covered = max(FEWEST_COPIES * period, FEWEST_TOKENS)
        if covered <= len(tokens):
            tail = list(tokens[-covered:])
            if tail[period:] == tail[:-period]:
                return period
    return None


def verdict(tokens: Sequence[int], stopped: bool) -> Verdict:
    if stopped:
        return Verdict.STOPPED
    return Verdict.LOOP if tail_period(tokens) is not None else Verdict.OUT_OF_TOKENS


def final_number(text: str) -> int | None:
    """The number of the last "The answer is N."."""
    numbers = re.findall(r"The answer is (\d+)\.", text)
    return int(numbers[-1]) if numbers else None
