"""Which tokens are scored: chunks of a text, and the token each row of logits predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators.errors import TextError
from evaluators.evaluator import TokenizedText
from evaluators.runtime import ScoredLogits
from evaluators.settings import RuntimeSettings


def count_chunks(tokenized: TokenizedText, text: Path, settings: RuntimeSettings, wanted: int | None) -> int:
    """Chunks to use of a text: all, or the first `wanted`. Raises TextError when there is not one, or not so many."""
    if wanted is not None and wanted < 1:
        raise TextError(f"{wanted} chunks were asked for; at least 1 is needed")
    available = tokenized.n_chunks(settings.ctx_size)
    if available < (wanted or 1):
        raise TextError(
            f"the text {text} has {len(tokenized)} tokens, which makes {available} chunks of {settings.ctx_size}; "
            f"needed: {wanted or 1}. Use a longer text, fewer chunks or a smaller ctx size"
        )
    return available if wanted is None else wanted


def targets_of(tokens: NDArray[np.int32], settings: RuntimeSettings, step: ScoredLogits) -> NDArray[np.int32]:
    """The tokens that these rows predict: each position's next one."""
    start = step.chunk * settings.ctx_size + settings.first_scored + step.first_row + 1
    return np.ascontiguousarray(tokens[start : start + len(step.logits)], dtype=np.int32)


def is_last(step: ScoredLogits, settings: RuntimeSettings) -> bool:
    """Whether these rows end their chunk."""
    return step.first_row + len(step.logits) == settings.scored_per_chunk
