"""Scores: the statistics from sums equal those from the tokens' values, and merging loses nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluators.comparison import TokenValues, chunk_score
from evaluators.divergence import ChunkScore, Score, merge_scores


def scored(chunk: int, tokens: int = 40) -> tuple[Score, TokenValues]:
    random = np.random.default_rng(chunk)
    reference_nll = random.exponential(2.0, tokens)
    values = TokenValues(
        kld=random.exponential(0.1, tokens),
        nll=reference_nll + random.normal(0.05, 0.1, tokens),
        reference_nll=reference_nll,
        same_top=random.random(tokens) < 0.9,
    )
    score, kld, delta_p = chunk_score(chunk, [values])
    return Score((score,), kld, delta_p), values


def test_every_statistic_follows_from_the_tokens() -> None:
    score, values = scored(1, 200)
    kld, nll, base = values.kld, values.nll, values.reference_nll
    count = 200

    def error(x: np.ndarray) -> float:
        return float(np.sqrt(np.var(x) / (count - 1)))

    assert score.tokens == count
    assert score.mean_kld == pytest.approx(kld.mean())
    assert score.mean_kld_standard_error == pytest.approx(error(kld))
    assert score.perplexity == pytest.approx(np.exp(nll.mean()))
    assert score.perplexity_standard_error == pytest.approx(np.exp(nll.mean()) * error(nll))
    assert score.reference_perplexity == pytest.approx(np.exp(base.mean()))
    assert score.log_perplexity_correlation == pytest.approx(np.corrcoef(nll, base)[0, 1])
    # The error of a difference of paired means is the error of the mean difference.
    assert score.log_perplexity_ratio.value == pytest.approx((nll - base).mean())
    assert score.log_perplexity_ratio.standard_error == pytest.approx(error(nll - base))
    assert score.top1_agreement == pytest.approx(values.same_top.mean())
    delta_p = np.exp(-nll) - np.exp(-base)
    assert score.delta_p.value == pytest.approx(delta_p.mean(), rel=1e-5)
    assert score.rms_delta_p == pytest.approx(np.sqrt((delta_p**2).mean()), rel=1e-5)


def test_percentiles_are_linear_between_tokens() -> None:
    score, values = scored(2, 121)
    found = score.kld_percentiles
    assert list(found) == ["max", "99.9", "99.0", "95.0", "90.0", "50.0", "10.0", "5.0", "1.0", "0.1", "min"]
    for name, level in (("99.9", 99.9), ("90.0", 90.0), ("50.0", 50.0), ("0.1", 0.1)):
        assert found[name] == pytest.approx(np.percentile(values.kld, level), rel=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@given(st.permutations(range(6)), st.integers(1, 5))
def test_scores_of_disjoint_chunks_merge_to_the_whole(order: list[int], cut: int) -> None:
    parts = {chunk: scored(chunk)[0] for chunk in range(6)}
    whole = merge_scores(parts.values())
    merged = merge_scores(
        [merge_scores(parts[chunk] for chunk in order[:cut]), merge_scores(parts[chunk] for chunk in order[cut:])]
    )
    assert merged == whole
    assert merged.chunk_numbers == (0, 1, 2, 3, 4, 5)
    assert merged.kld_percentiles == whole.kld_percentiles
    assert merged.delta_p_percentiles == whole.delta_p_percentiles


def test_percentiles_are_given_up_when_a_part_has_no_tokens_values() -> None:
    first, second = scored(0)[0], scored(1)[0]
    merged = merge_scores([first, Score(second.chunks)])
    assert merged.kld_percentiles == {}
    assert merged.mean_kld == pytest.approx((first.mean_kld + second.mean_kld) / 2)


def test_a_chunk_counts_once() -> None:
    with pytest.raises(ValueError, match=r"\[3\]"):
        merge_scores([scored(3)[0], scored(3)[0]])


def test_a_chunk_score_survives_a_dictionary() -> None:
    chunk = scored(4)[0].chunks[0]
    assert ChunkScore.from_dict(chunk.as_dict()) == chunk


def test_a_candidate_equal_to_its_reference_has_no_errors_to_divide_by() -> None:
    values = TokenValues(np.zeros(30), np.ones(30), np.ones(30), np.ones(30, dtype=np.bool_))
    score = Score((chunk_score(0, [values])[0],))
    assert score.mean_kld == 0.0
    assert score.log_perplexity_correlation == 1.0
    assert score.perplexity_ratio.value == 1.0
    assert score.rms_delta_p_estimate.standard_error == 0.0
    assert score.top1_agreement == 1.0
