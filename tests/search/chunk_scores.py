"""Scores of chunks, made up."""

from evaluators.divergence import ChunkScore

TOKENS = 10


def chunk_score(chunk: int, mean_kld: float, *, nll: float = 3.0, reference_nll: float = 3.0) -> ChunkScore:
    """Every token of it loses `mean_kld`; nll are nats per token."""
    return ChunkScore(
        chunk=chunk,
        tokens=TOKENS,
        kld_sum=TOKENS * mean_kld,
        kld_sum_squares=TOKENS * mean_kld**2,
        nll_sum=TOKENS * nll,
        nll_sum_squares=TOKENS * nll**2,
        reference_nll_sum=TOKENS * reference_nll,
        reference_nll_sum_squares=TOKENS * reference_nll**2,
        nll_cross_sum=TOKENS * nll * reference_nll,
        delta_p_sum=0.0,
        delta_p_sum_squares=0.0,
        delta_p_sum_fourths=0.0,
        same_top=TOKENS,
    )
