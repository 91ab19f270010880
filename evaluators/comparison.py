"""From logits to the sums of one chunk: the kernel's rows against a reference's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluators import kernel
from evaluators.divergence import ChunkScore
from evaluators.errors import DecodeError
from evaluators.reference import ReferenceChunk


@dataclass(frozen=True, slots=True)
class TokenValues:
    """One value a scored token; float32 where llama-perplexity's own arithmetic is followed, else float64."""

    kld: NDArray[np.float64]
    nll: NDArray[np.floating]
    reference_nll: NDArray[np.floating]
    same_top: NDArray[np.bool_]

    @property
    def delta_p(self) -> NDArray[np.float32]:
        difference: NDArray[np.floating] = np.exp(-self.nll) - np.exp(-self.reference_nll)
        return difference.astype(np.float32)


def compare(
    logits: NDArray[np.float32], targets: NDArray[np.int32], reference: ReferenceChunk, first_row: int
) -> TokenValues:
    """logits: [rows, n_vocab], scored against the reference's rows from `first_row` on; targets: [rows].

    Raises DecodeError when a logit is not a number.
    """
    rows = slice(first_row, first_row + logits.shape[0])
    kld, nll, top = empty_rows(logits.shape[0])
    kernel.divergence_rows(logits, reference.log_weights[rows], targets, kld, nll, top)
    require_numbers(kld, nll)
    return TokenValues(kld, nll, reference.nll[rows].copy(), top == reference.top[rows])


def encode(logits: NDArray[np.float32], targets: NDArray[np.int32]) -> ReferenceChunk:
    """Reference rows of these logits. Raises DecodeError when a logit is not a number."""
    _, nll, top = empty_rows(logits.shape[0])
    log_weights = np.empty(logits.shape, dtype=np.uint16)
    kernel.encode_rows(logits, targets, log_weights, nll, top)
    require_numbers(nll)
    return ReferenceChunk(log_weights, nll, top)


def joined(parts: Sequence[ReferenceChunk]) -> ReferenceChunk:
    """A chunk that was encoded in several steps, in their order."""
    if len(parts) == 1:
        return parts[0]
    return ReferenceChunk(
        np.concatenate([part.log_weights for part in parts]),
        np.concatenate([part.nll for part in parts]),
        np.concatenate([part.top for part in parts]),
    )


def chunk_score(
    chunk: int, parts: Sequence[TokenValues]
) -> tuple[ChunkScore, NDArray[np.float32], NDArray[np.float32]]:
    """The chunk's sums, its tokens' KLD and their delta p. Squares are taken in the values' own precision."""
    kld = np.concatenate([part.kld for part in parts])
    nll = np.concatenate([part.nll for part in parts])
    reference_nll = np.concatenate([part.reference_nll for part in parts])
    delta_p = np.concatenate([part.delta_p for part in parts])
    squares = (delta_p * delta_p).astype(np.float64)
    score = ChunkScore(
        chunk=chunk,
        tokens=int(kld.size),
        kld_sum=_total(kld),
        kld_sum_squares=_total(kld * kld),
        nll_sum=_total(nll),
        nll_sum_squares=_total(nll * nll),
        reference_nll_sum=_total(reference_nll),
        reference_nll_sum_squares=_total(reference_nll * reference_nll),
        nll_cross_sum=_total(nll * reference_nll),
        delta_p_sum=_total(delta_p),
        delta_p_sum_squares=_total(squares),
        delta_p_sum_fourths=_total(squares * squares),
        same_top=int(sum(int(part.same_top.sum()) for part in parts)),
    )
    return score, kld.astype(np.float32), delta_p


def empty_rows(rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int32]]:
    return np.empty(rows), np.empty(rows), np.empty(rows, dtype=np.int32)


def require_numbers(*values: NDArray[np.float64]) -> None:
    if not all(np.isfinite(value).all() for value in values):
        raise DecodeError(
            "the model's logits are not all numbers (NaN or infinite): this candidate is broken, or its KV type or "
            "flash attention overflows; try -fa off, -ctk f16 -ctv f16"
        )


def _total(values: NDArray[np.floating]) -> float:
    return float(np.sum(values, dtype=np.float64))
