"""Divergence of a candidate from its reference: sums per chunk, and every figure llama-perplexity prints from them.

For each scored token, with p the reference's and q the candidate's distribution over the vocabulary:

    KLD     = sum_i p_i * (ln p_i - ln q_i)          nats, KL(reference || candidate)
    nll     = -ln q(token), reference nll = -ln p(token)
    delta p = q(token) - p(token)

Means carry the standard error sqrt((mean(x^2) - mean(x)^2) / (N - 1)) over tokens, zero up to ten tokens
(tools/perplexity/perplexity.cpp, `kl_divergence`). Sums are kept per chunk, so that scores of disjoint chunks
merge without loss and two candidates can be compared on the same chunks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from math import exp, isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The quantiles llama-perplexity prints; its median is the mean of the two middle values, as 50 % is here.
KLD_PERCENTILES = (99.9, 99.0, 95.0, 90.0, 50.0, 10.0, 5.0, 1.0, 0.1)
DELTA_P_PERCENTILES = (99.9, 99.0, 95.0, 90.0, 75.0, 50.0, 25.0, 10.0, 5.0, 1.0, 0.1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and the standard error of it."""

    value: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class ChunkScore:
    """Sums over the scored tokens of one chunk; nats for KLD and nll, probabilities (0-1) for delta p."""

    chunk: int
    tokens: int
    kld_sum: float
    kld_sum_squares: float
    nll_sum: float
    nll_sum_squares: float
    reference_nll_sum: float
    reference_nll_sum_squares: float
    nll_cross_sum: float
    delta_p_sum: float
    delta_p_sum_squares: float
    delta_p_sum_fourths: float
    same_top: float
    """A count; where chunks are weighted, of tokens as they count."""

    @property
    def mean_kld(self) -> float:
        return self.kld_sum / self.tokens

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ChunkScore:
        return cls(**{name.name: values[name.name] for name in fields(cls)})


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate's divergence over some chunks, in the order of their numbers.

    `token_kld` and `token_delta_p` (float32, one value a scored token, chunk by chunk) may be absent: then the
    percentiles are empty, and everything else is still known.
    """

    chunks: tuple[ChunkScore, ...]
    token_kld: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    token_delta_p: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    def _total(self, name: str) -> float:
        return float(sum(getattr(chunk, name) for chunk in self.chunks))

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def chunk_numbers(self) -> tuple[int, ...]:
        return tuple(chunk.chunk for chunk in self.chunks)

    @property
    def kld(self) -> Estimate:
        return _mean(self._total("kld_sum"), self._total("kld_sum_squares"), self.tokens)

    @property
    def mean_kld(self) -> float:
        return self.kld.value

    @property
    def mean_kld_standard_error(self) -> float:
        return self.kld.standard_error

    @property
    def log_perplexity(self) -> Estimate:
        return _mean(self._total("nll_sum"), self._total("nll_sum_squares"), self.tokens)

    @property
    def reference_log_perplexity(self) -> Estimate:
        return _mean(self._total("reference_nll_sum"), self._total("reference_nll_sum_squares"), self.tokens)

    @property
    def perplexity(self) -> float:
        return exp(self.log_perplexity.value)

    @property
    def perplexity_standard_error(self) -> float:
        return self.perplexity * self.log_perplexity.standard_error

    @property
    def reference_perplexity(self) -> float:
        return exp(self.reference_log_perplexity.value)

    @property
    def reference_perplexity_standard_error(self) -> float:
        return self.reference_perplexity * self.reference_log_perplexity.standard_error

    @property
    def _log_perplexity_covariance(self) -> float:
        count = self.tokens
        if count < 10:
            return 0.0
        mean, reference_mean = self._total("nll_sum") / count, self._total("reference_nll_sum") / count
        return (self._total("nll_cross_sum") / count - mean * reference_mean) / (count - 1)

    @property
    def log_perplexity_correlation(self) -> float:
        """Correlation of ln PPL(Q) and ln PPL(base), 1.0 where one of them does not vary at all."""
        product = self.log_perplexity.standard_error * self.reference_log_perplexity.standard_error
        return self._log_perplexity_covariance / product if product > 0 else 1.0

    @property
    def log_perplexity_ratio(self) -> Estimate:
        """Mean ln(PPL(Q)/PPL(base))."""
        ours, theirs = self.log_perplexity, self.reference_log_perplexity
        variance = ours.standard_error**2 + theirs.standard_error**2 - 2.0 * self._log_perplexity_covariance
        return Estimate(ours.value - theirs.value, sqrt(max(variance, 0.0)))

    @property
    def perplexity_ratio(self) -> Estimate:
        """Mean PPL(Q)/PPL(base)."""
        ratio = self.log_perplexity_ratio
        return Estimate(exp(ratio.value), exp(ratio.value) * ratio.standard_error)

    @property
    def perplexity_difference(self) -> Estimate:
        """Mean PPL(Q)-PPL(base)."""
        ours, theirs = self.perplexity, self.reference_perplexity
        covariance = ours * theirs * self._log_perplexity_covariance
        variance = self.perplexity_standard_error**2 + self.reference_perplexity_standard_error**2 - 2.0 * covariance
        return Estimate(ours - theirs, sqrt(max(variance, 0.0)))

    @property
    def delta_p(self) -> Estimate:
        return _mean(self._total("delta_p_sum"), self._total("delta_p_sum_squares"), self.tokens)

    @property
    def rms_delta_p_estimate(self) -> Estimate:
        mean_square = _mean(self._total("delta_p_sum_squares"), self._total("delta_p_sum_fourths"), self.tokens)
        rms = sqrt(max(mean_square.value, 0.0))
        return Estimate(rms, 0.5 / rms * mean_square.standard_error if rms > 0 else 0.0)

    @property
    def rms_delta_p(self) -> float:
        return self.rms_delta_p_estimate.value

    @property
    def top1_agreement_estimate(self) -> Estimate:
        """Share of tokens where both name the same most probable token."""
        share = self._total("same_top") / self.tokens if self.tokens else 0.0
        return Estimate(share, sqrt(share * (1.0 - share) / (self.tokens - 1)) if self.tokens > 1 else 0.0)

    @property
    def top1_agreement(self) -> float:
        return self.top1_agreement_estimate.value

    @property
    def kld_percentiles(self) -> dict[str, float]:
        """Keys "max", "99.9", … "0.1", "min", nats; empty without the tokens' values."""
        return _percentiles(self.token_kld, KLD_PERCENTILES)

    @property
    def delta_p_percentiles(self) -> dict[str, float]:
        """Keys "max", "99.9", … "0.1", "min", probabilities; empty without the tokens' values."""
        return _percentiles(self.token_delta_p, DELTA_P_PERCENTILES)

    def as_json(self) -> dict[str, Any]:
        """The figures of `layerquant eval --json`, without `size_bytes`, which is the caller's to add."""
        return {
            "tokens": self.tokens,
            "mean_kld": self.mean_kld,
            "mean_kld_standard_error": self.mean_kld_standard_error,
            "kld_percentiles": self.kld_percentiles,
            "perplexity": self.perplexity,
            "perplexity_standard_error": self.perplexity_standard_error,
            "reference_perplexity": self.reference_perplexity,
            "reference_perplexity_standard_error": self.reference_perplexity_standard_error,
            "top1_agreement": self.top1_agreement,
            "rms_delta_p": self.rms_delta_p,
            "mean_delta_p": self.delta_p.value,
            "delta_p_percentiles": self.delta_p_percentiles,
        }


def merge_scores(scores: Iterable[Score]) -> Score:
    """One score over the chunks of all; their chunks must be disjoint.

    Percentiles survive only when every part still has its tokens' values. Raises ValueError on a chunk scored twice.
    """
    parts = [part for score in scores for part in _split(score)]
    parts.sort(key=lambda part: part[0].chunk)
    numbers = [chunk.chunk for chunk, _, _ in parts]
    if len(set(numbers)) != len(numbers):
        raise ValueError(f"chunks scored more than once: {sorted({n for n in numbers if numbers.count(n) > 1})}")
    return Score(
        tuple(chunk for chunk, _, _ in parts),
        _join([kld for _, kld, _ in parts]),
        _join([delta_p for _, _, delta_p in parts]),
    )


_Values = NDArray[np.float32] | None


def _split(score: Score) -> list[tuple[ChunkScore, _Values, _Values]]:
    parts: list[tuple[ChunkScore, _Values, _Values]] = []
    start = 0
    for chunk in score.chunks:
        rows = slice(start, start + chunk.tokens)
        kld = None if score.token_kld is None else score.token_kld[rows]
        delta_p = None if score.token_delta_p is None else score.token_delta_p[rows]
        parts.append((chunk, kld, delta_p))
        start += chunk.tokens
    return parts


def _join(values: Sequence[_Values]) -> _Values:
    present = [value for value in values if value is not None]
    if not present or len(present) != len(values):
        return None
    return np.concatenate(present)


def _mean(total: float, total_of_squares: float, count: int) -> Estimate:
    if count < 1:
        return Estimate(0.0, 0.0)
    mean = total / count
    variance = total_of_squares / count - mean * mean
    if not isfinite(variance) or variance <= 0 or count <= 10:
        return Estimate(mean, 0.0)
    return Estimate(mean, sqrt(variance / (count - 1)))


def _percentiles(values: _Values, levels: Sequence[float]) -> dict[str, float]:
    """Linear interpolation at p = fraction * (N - 1), as llama-perplexity's `percentile`."""
    if values is None or values.size == 0:
        return {}
    ordered = np.sort(values)
    named = {str(level): float(_percentile(ordered, level / 100.0)) for level in levels}
    return {"max": float(ordered[-1]), **named, "min": float(ordered[0])}


def _percentile(ordered: NDArray[np.float32], fraction: float) -> float:
    position = np.float32(fraction) * np.float32(ordered.size - 1)
    below = int(position)
    weight = float(position - below)
    above = min(below + 1, ordered.size - 1)
    return (1.0 - weight) * float(ordered[below]) + weight * float(ordered[above])
