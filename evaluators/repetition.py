"""Does a generation run on for ever? Verdicts on how it ended, from its token ids and its text.

- `stopped`: the model ended its answer itself, whatever it repeated before.
- `loop`: the tail repeats exactly on token ids, with a period of at most 1,024 tokens.
- `near_loop`: the tail repeats once runs of digits are made equal (counters: "Step 1: … Step 2: …"), or the text's tail
  is so compressible that it says nothing new (paragraphs that vary by a word).
- `out_of_tokens`: the limit was reached with text that still makes sense: overthinking, no loop.

Legitimate repetition exists (tables, digits of 1/7), so short periods need more copies, and a verdict is held against a
candidate only where the reference ended better on the same prompt: `damage`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

LONGEST_PERIOD = 1024  # tokens
LONGEST_NEAR_PERIOD = 4096  # characters
FEWEST_LETTERS = 12  # in one period of a near loop: rows of a table of numbers have fewer
# Bytes of the tail that are compressed, half of it letters at least. Prose comes to 0.25 of its size, lists of short
# numbered rows to 0.08, the same paragraph with one other word each time to 0.03.
COMPRESSED_WINDOWS = (8192, 32768)
COMPRESSED_LIMIT = 0.06
_PROBE = 16  # positions compared at once for every period, to choose the few periods worth a full comparison


class Verdict(Enum):
    STOPPED = "stopped"
    OUT_OF_TOKENS = "out_of_tokens"
    NEAR_LOOP = "near_loop"
    LOOP = "loop"


@dataclass(frozen=True, slots=True)
class LoopRule:
    """How much of a tail must repeat: `copies` of the period and `length` positions in all; `short_length` for a period
    shorter than `short_period`."""

    copies: int
    length: int
    short_period: int
    short_length: int

    def __post_init__(self) -> None:
        if self.copies < 2 or self.length < 2 * _PROBE or self.short_length < self.length:
            raise ValueError(
                f"a loop needs 2 copies and {2 * _PROBE} positions at least, short periods no less: {self}"
            )

    def fulfilled(self, period: int, covered: int) -> bool:
        least = self.short_length if period < self.short_period else self.length
        return covered >= max(self.copies * period, least)


# A generation that reached its limit without an end needs less proof than one that is to be cut short.
AT_LIMIT = LoopRule(copies=4, length=64, short_period=8, short_length=128)
PROVEN = LoopRule(copies=8, length=256, short_period=16, short_length=512)
NEAR = LoopRule(copies=8, length=320, short_period=1, short_length=320)  # characters


@dataclass(frozen=True, slots=True)
class Repetition:
    """Positions from `onset` to the end repeat with `period`, `length` of them; tokens, or characters of a near loop.

    `period` is None where only compressibility tells.
    """

    onset: int
    period: int | None
    length: int


@dataclass(frozen=True, slots=True)
class Ending:
    verdict: Verdict
    repetition: Repetition | None = None


def judge_ending(tokens: Sequence[int] | NDArray[np.int32], text: str, *, stopped: bool) -> Ending:
    """How a generation ended. tokens: its ids, without the prompt and the end token; text: the same as text."""
    if stopped:
        return Ending(Verdict.STOPPED)
    if found := find_loop(tokens):
        return Ending(Verdict.LOOP, found)
    if found := find_near_loop(text):
        return Ending(Verdict.NEAR_LOOP, found)
    return Ending(Verdict.OUT_OF_TOKENS)


def damage(candidate: Ending, reference: Ending) -> Verdict | None:
    """The candidate's verdict where it ended worse than the reference did on the same prompt, else None.

    A loop and a near loop weigh the same; both are worse than running out of tokens, which is worse than stopping.
    """
    return candidate.verdict if _weight(candidate.verdict) > _weight(reference.verdict) else None


def _weight(verdict: Verdict) -> int:
    return {Verdict.STOPPED: 0, Verdict.OUT_OF_TOKENS: 1}.get(verdict, 2)


def find_loop(
    sequence: Sequence[int] | NDArray[np.int32], rule: LoopRule = AT_LIMIT, longest_period: int = LONGEST_PERIOD
) -> Repetition | None:
    """The smallest period with which the sequence's tail repeats exactly, if by the rule it is a loop.

    Work: one comparison of `_PROBE` positions for each period, then O(n) for each of the few periods left.
    """
    backwards = np.asarray(sequence)[::-1]
    count = backwards.size
    limit = min(longest_period, count // rule.copies)
    if count < rule.length or limit < 1:
        return None
    shifted = np.lib.stride_tricks.sliding_window_view(backwards[1 : limit + _PROBE], _PROBE)
    rejected: list[tuple[int, int]] = []
    for period in (np.flatnonzero((shifted == backwards[:_PROBE]).all(axis=1)) + 1).tolist():
        # A multiple of a period repeats just as far as the period itself, and may not pass by a weaker rule.
        if any(period % smaller == 0 and period <= covered for smaller, covered in rejected):
            continue
        different = backwards[period:] != backwards[:-period]
        covered = period + (int(different.argmax()) if different.any() else different.size)
        if rule.fulfilled(period, covered):
            return Repetition(count - covered, period, covered)
        rejected.append((period, covered))
    return None


def find_near_loop(text: str) -> Repetition | None:
    """A tail that repeats but for its numbers, or that zlib makes smaller than `COMPRESSED_LIMIT` of its size."""
    pieces = [(match.start(), "0" if match[0].isdigit() else match[0]) for match in re.finditer(r"\d+|\D", text)]
    plain = "".join(piece for _, piece in pieces)
    found = find_loop(
        np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), dtype=np.int32), NEAR, LONGEST_NEAR_PERIOD
    )
    if found and found.period and _letters(plain[-found.period :]) >= FEWEST_LETTERS:
        onset = pieces[found.onset][0]
        return Repetition(onset, found.period, len(text) - onset)
    encoded = text.encode("utf-8", "surrogatepass")
    for size in COMPRESSED_WINDOWS:
        if len(encoded) < size or len(zlib.compress(encoded[-size:], 9)) >= COMPRESSED_LIMIT * size:
            continue
        tail = encoded[-size:].decode("utf-8", "ignore")
        if 2 * _letters(tail) >= len(tail):
            return Repetition(len(text) - len(tail), None, len(tail))
    return None


def _letters(text: str) -> int:
    return sum(map(str.isalpha, text))
