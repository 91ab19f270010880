"""Perplexity of a model on a text, by llama-perplexity's protocol.

    PPL = exp(mean nll),  standard error = PPL * sqrt((mean(nll^2) - mean(nll)^2) / (N - 1))

over the second half of every chunk: position i >= ctx/2 predicts token i + 1, the first half is context only
(tools/perplexity/perplexity.cpp, `perplexity`). The same decode serves divergence; this is for a model alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray

from evaluators import kernel
from evaluators.comparison import empty_rows, require_numbers
from evaluators.evaluator import Progress
from evaluators.runtime import Runtime
from evaluators.targets import is_last, targets_of


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Sums of nll (nats) over scored tokens, in all and by chunk."""

    tokens: int
    nll_sum: float
    nll_sum_squares: float
    chunk_nll: tuple[float, ...]  # mean nll of each chunk, in the order asked for

    @property
    def value(self) -> float:
        return exp(self.nll_sum / self.tokens)

    @property
    def standard_error(self) -> float:
        mean = self.nll_sum / self.tokens
        variance = self.nll_sum_squares / self.tokens - mean * mean
        return self.value * sqrt(variance / (self.tokens - 1)) if variance > 0 and self.tokens > 1 else 0.0


def measure_perplexity(
    runtime: Runtime, tokens: NDArray[np.int32], chunks: Sequence[int], progress: Progress | None = None
) -> Perplexity:
    """tokens: [n_chunks * ctx_size]. Raises DecodeError."""
    values: list[NDArray[np.float64]] = []
    chunk_nll: list[float] = []
    begun = 0
    for step in runtime.decode(tokens, chunks):
        _, nll, top = empty_rows(len(step.logits))
        kernel.nll_rows(step.logits, targets_of(tokens, runtime.settings, step), nll, top)
        require_numbers(nll)
        values.append(nll)
        if is_last(step, runtime.settings):
            chunk_nll.append(float(np.concatenate(values[begun:]).mean()))
            begun = len(values)
            if progress is not None:
                progress(len(chunk_nll), len(chunks))
    nll = np.concatenate(values)
    return Perplexity(int(nll.size), float(nll.sum()), float((nll * nll).sum()), tuple(chunk_nll))
