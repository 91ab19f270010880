"""A loaded candidate's chunks against a reference: what may be asked for, and the score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators.comparison import TokenValues, chunk_score
from evaluators.divergence import ChunkScore, Score
from evaluators.errors import EvaluationInputError, ReferenceMismatch
from evaluators.evaluator import Progress
from evaluators.runtime import Runtime, ScoredLogits
from evaluators.targets import is_last, targets_of


def score_chunks(
    runtime: Runtime,
    tokens: NDArray[np.int32],
    chunks: Sequence[int],
    against: Callable[[ScoredLogits, NDArray[np.int32]], TokenValues],
    progress: Progress | None,
) -> Score:
    """Decode these chunks of `tokens` and compare each step's logits with `against`; `progress` counts chunks."""
    parts: dict[int, list[TokenValues]] = {}
    scored: list[tuple[ChunkScore, NDArray[np.float32], NDArray[np.float32]]] = []
    for step in runtime.decode(tokens, chunks):
        parts.setdefault(step.chunk, []).append(against(step, targets_of(tokens, runtime.settings, step)))
        if is_last(step, runtime.settings):
            scored.append(chunk_score(step.chunk, parts.pop(step.chunk)))
            if progress is not None:
                progress(len(scored), len(chunks))
    return Score(
        tuple(score for score, _, _ in scored),
        np.concatenate([kld for _, kld, _ in scored]),
        np.concatenate([delta_p for _, _, delta_p in scored]),
    )


def checked_chunks(chunks: Sequence[int], available: int, reference: Path) -> list[int]:
    """In order, each once. Raises EvaluationInputError where there is none, or one that the reference has not."""
    wanted = sorted(set(chunks))
    if not wanted:
        raise EvaluationInputError("no chunks were asked for; give at least one")
    outside = [chunk for chunk in wanted if not 0 <= chunk < available]
    if outside:
        raise EvaluationInputError(
            f"the reference {reference} has chunks 0 to {available - 1}; chunk {outside[-1]} was asked for"
        )
    return wanted


def require_vocabulary(runtime: Runtime, n_vocab: int, candidate: Sequence[Path], reference: Path) -> None:
    """Raises ReferenceMismatch where the candidate cannot be one of the reference's model."""
    if runtime.n_vocab != n_vocab:
        raise ReferenceMismatch(
            f"{candidate[0]} has a vocabulary of {runtime.n_vocab} tokens, the reference {reference} one of {n_vocab}; "
            "a candidate is compared with the model it was made from"
        )
