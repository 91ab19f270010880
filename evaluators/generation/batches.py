"""Which tokens are decoded together: answers first, then prompts as far as the batch reaches, each with its draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.shape import BatchShape


class Part(NamedTuple):
    """One sequence's tokens in a batch: `taken` pending ones, then proposed ones.

    outputs: rows of logits, the last pending token's and one for each proposed; 0 while more of a prompt is to come.
    """

    sequence: AnswerSequence
    taken: int
    proposed: list[int]
    outputs: int


class Arrays(NamedTuple):
    """A batch as evaluators.llama.decode takes it; all [tokens]."""

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    outputs: NDArray[np.int8]


def plan_batch(active: Sequence[AnswerSequence], shape: BatchShape) -> list[Part]:
    """Depends on the sequences' state only, never on time. Every answer goes on by a token at least."""
    answers = [sequence for sequence in active if sequence.pending == 1]
    prompts = [sequence for sequence in active if sequence.pending > 1]
    parts = []
    rows, outputs = shape.n_batch - len(answers), shape.n_outputs - len(active)  # beyond one of each sequence
    for sequence in answers:
        proposed = sequence.propose(min(shape.draft_tokens, rows, outputs))
        parts.append(Part(sequence, 1, proposed, 1 + len(proposed)))
        rows, outputs = rows - len(proposed), outputs - len(proposed)
    for sequence in prompts:
        taken = min(sequence.pending, rows)
        if not taken:
            break
        rows -= taken
        if taken < sequence.pending:
            parts.append(Part(sequence, taken, [], 0))
            continue
        proposed = sequence.propose(min(shape.draft_tokens, rows, outputs))
        parts.append(Part(sequence, taken, proposed, 1 + len(proposed)))
        rows, outputs = rows - len(proposed), outputs - len(proposed)
    return parts


def to_arrays(parts: Sequence[Part]) -> Arrays:
    tokens, positions, sequences, outputs = [], [], [], []
    for part in parts:
        sequence, count = part.sequence, part.taken + len(part.proposed)
        tokens.append(sequence.ids[sequence.decoded : sequence.decoded + part.taken])
        tokens.append(np.asarray(part.proposed, dtype=np.int32))
        positions.append(np.arange(sequence.decoded, sequence.decoded + count, dtype=np.int32))
        sequences.append(np.full(count, sequence.slot, dtype=np.int32))
        outputs.append(np.arange(count, 0, -1) <= part.outputs)
    return Arrays(
        np.concatenate(tokens), np.concatenate(positions), np.concatenate(sequences),
        np.concatenate(outputs).astype(np.int8),
    )  # fmt: skip
