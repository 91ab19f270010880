"""Prompts that begin alike: what one sequence has decoded of the beginning is another's too, decoded once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluators.generation.sequence import AnswerSequence

# Tokens alike from which on a question waits until the beginning is decoded; the wait can cost it a step.
SHORTEST_PREFIX = 64


def find_beginning(prompt: Sequence[int], active: Sequence[AnswerSequence]) -> tuple[AnswerSequence, int] | None:
    """Who has the longest beginning in common with this prompt, decoded or soon to be, and how many tokens.

    The last token of a prompt is never part of it, since its logits are wanted.
    """
    tokens = np.asarray(prompt, dtype=np.int32)
    lengths = [_common(tokens[:-1], sequence.ids[: sequence.prompt_length]) for sequence in active]
    longest = max(lengths, default=0)
    return (active[lengths.index(longest)], longest) if longest >= SHORTEST_PREFIX else None


def _common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    length = min(one.size, other.size)
    differing = np.flatnonzero(one[:length] != other[:length])
    return int(differing[0]) if differing.size else length
