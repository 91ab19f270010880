"""An answer's text in pieces: as the other's, from the first divergence on, and where it repeats; long ones cut."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from evaluators.behaviour.scores import diverge
from evaluators.generation.transcript import Transcript
from evaluators.repetition import Ending, Verdict, find_loop

# Characters that are shown: of what is equal its beginning and what comes right before the divergence, of what is not
# its beginning and its end, where the answer stands.
_EQUAL = (200, 500)
_OWN = (3000, 1500)
_ASKED = (800, 800)
_COPIES = 3
_REPEATED = 1500
_FIRST_WORD = re.compile(r"\s*\S{1,40}")
_FEWEST_CUT = 120  # a note for less would be longer than what it leaves out


@dataclass(frozen=True, slots=True)
class Piece:
    """`cut`: characters left out here; such a piece has no text. `copy`: of a loop, counted from 0.

    `first`: the word in which the divergence is.
    """

    text: str
    equal: bool = False
    first: bool = False
    repeats: bool = False
    copy: int = 0
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Repeated:
    """Characters from `onset` to the end repeat; `period` is None where the copies are not exact."""

    onset: int
    period: int | None


def divergence_in_text(ours: Transcript, theirs: Transcript) -> int | None:
    """Characters of `ours` before the first token that `theirs` has not; None where all tokens are equal.

    Where it is not known how long tokens are: up to the word in which the texts first differ.
    """
    found = diverge(ours, theirs)
    if found.first is None:
        return None
    known = ours.characters(found.first)
    return _common_words(ours.text, theirs.text) if known is None else known


def repeated_in_text(transcript: Transcript) -> Repeated | None:
    """Where a loop or near loop begins in the text; None where nothing repeats."""
    ending = transcript.ending
    if ending.repetition is None:
        return None
    onset, period = ending.repetition.onset, ending.repetition.period
    if ending.verdict is Verdict.NEAR_LOOP:
        return Repeated(onset, None)
    start, end = transcript.characters(onset), transcript.characters(onset + (period or 0))
    if start is not None and end is not None:
        return Repeated(start, end - start or None)
    characters = np.frombuffer(transcript.text.encode("utf-32-le", "surrogatepass"), dtype=np.int32)
    found = find_loop(characters, longest_period=characters.size)
    return Repeated(found.onset, found.period) if found else None


def pieces(text: str, divergence: int | None, repeated: Repeated | None, *, compared: bool) -> tuple[Piece, ...]:
    """The whole text in order.

    Args:
        divergence: characters that are as the other's; None where all are, or where nothing is compared.
        compared: whether there is another.
    """
    equal_until = len(text) if divergence is None and compared else divergence or 0
    onset = repeated.onset if repeated else len(text)
    found: list[Piece] = []
    borders = sorted({0, min(equal_until, len(text)), min(onset, len(text)), len(text)})
    for start, end in pairwise(borders):
        equal, part = start < equal_until, text[start:end]
        if start < onset:
            word = _FIRST_WORD.match(part)
            if start == divergence and word:
                found.append(Piece(word[0], first=True))
                part = part[word.end() :]
            found += _cut(part, equal, *(_EQUAL if equal and equal_until < len(text) else _OWN))
        elif repeated is not None:
            found += _copies(part, equal, repeated.period, start - onset)
    return tuple(found)


def pieces_of_question(text: str) -> tuple[Piece, ...]:
    """What was asked: of a long one, such as a document with a needle in it, beginning and end."""
    return tuple(_cut(text, False, *_ASKED)) if text else ()


def ending_text(ending: Ending, tokens: int) -> str:
    """How it ended, in words."""
    repetition = ending.repetition
    if ending.verdict is Verdict.STOPPED:
        return f"stopped by itself after {tokens:,} tokens"
    if ending.verdict is Verdict.OUT_OF_TOKENS or repetition is None:
        return f"ran out of tokens after {tokens:,}"
    unit = "token" if ending.verdict is Verdict.LOOP else "character"
    where = f"from {unit} {repetition.onset:,} on"
    if repetition.period is None:
        return f"never ends: {where} it says nothing new"
    times = repetition.length // repetition.period
    alike = "" if ending.verdict is Verdict.LOOP else ", but for numbers"
    return f"never ends: {where} the same {repetition.period:,} {unit}s {times:,} times{alike}"


def _cut(text: str, equal: bool, first: int, last: int) -> Iterator[Piece]:
    if not text:
        return
    left_out = len(text) - first - last
    if left_out < _FEWEST_CUT:
        yield Piece(text, equal)
        return
    yield Piece(text[:first], equal)
    yield Piece("", equal, cut=left_out)
    yield Piece(text[-last:], equal)


def _copies(text: str, equal: bool, period: int | None, offset: int) -> Iterator[Piece]:
    """The first copies one by one, then a note. offset: characters of the repeated part before this text."""
    end = min(len(text), max(0, _COPIES * period - offset) if period else _REPEATED, _REPEATED)
    if len(text) - end < _FEWEST_CUT:
        end = len(text)
    start = 0
    while start < end:
        copy = (offset + start) // period if period else 0
        stop = min(end, (copy + 1) * period - offset) if period else end
        yield Piece(text[start:stop], equal, repeats=True, copy=copy)
        start = stop
    if end < len(text):
        yield Piece("", equal, repeats=True, cut=len(text) - end)


def _common_words(one: str, other: str) -> int:
    shorter = min(len(one), len(other))
    at = next((index for index in range(shorter) if one[index] != other[index]), shorter)
    while 0 < at < max(len(one), len(other)) and one[at - 1].isalnum():
        at -= 1
    return at
