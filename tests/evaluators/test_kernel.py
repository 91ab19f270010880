"""The fused kernels against the formulas written out in float64 numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluators.base_file import BaseFile, encode_records, row_words
from evaluators.comparison import compare, encode
from evaluators.errors import DecodeError


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def logits_like(rows: int, n_vocab: int, seed: int, spread: float) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal((rows, n_vocab)) * spread).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 9), n_vocab=st.integers(2, 700), seed=st.integers(0, 2**32), spread=st.floats(0.01, 9.0))
def test_divergence_is_the_formula(rows: int, n_vocab: int, seed: int, spread: float) -> None:
    base = logits_like(rows, n_vocab, seed, spread)
    candidate = base + logits_like(rows, n_vocab, seed + 1, spread / 10)
    targets = np.random.default_rng(seed).integers(0, n_vocab, rows).astype(np.int32)
    reference = encode(base, targets)
    found = compare(candidate, targets, reference, 0)
    log_p, log_q = log_softmax(base), log_softmax(candidate)
    every = np.arange(rows)
    # float16 keeps 11 bits of a log weight: at 20 nats below the top that is 0.008 nats, with next to no probability.
    np.testing.assert_allclose(found.kld, (np.exp(log_p) * (log_p - log_q)).sum(axis=1), rtol=0.02, atol=2e-4)
    np.testing.assert_allclose(found.nll, -log_q[every, targets], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(found.reference_nll, -log_p[every, targets], rtol=1e-6, atol=2e-6)
    np.testing.assert_array_equal(found.same_top, base.argmax(axis=1) == candidate.argmax(axis=1))


@settings(max_examples=40, deadline=None)
@given(n_vocab=st.integers(2, 700), seed=st.integers(0, 2**32), spread=st.floats(0.01, 9.0))
def test_a_model_does_not_differ_from_itself(n_vocab: int, seed: int, spread: float) -> None:
    logits = logits_like(5, n_vocab, seed, spread)
    targets = np.zeros(5, dtype=np.int32)
    found = compare(logits, targets, encode(logits, targets), 0)
    assert np.abs(found.kld).max() < 3e-6
    assert found.same_top.all()
    np.testing.assert_allclose(found.nll, found.reference_nll, rtol=1e-14, atol=1e-14)


def test_stored_weights_are_numpys_float16() -> None:
    logits = np.concatenate([logits_like(3, 4000, 1, 9.0), logits_like(3, 4000, 2, 1e-5)])
    stored = encode(logits, np.zeros(6, dtype=np.int32)).log_weights
    expected = (logits - logits.max(axis=1, keepdims=True)).astype(np.float16)
    np.testing.assert_array_equal(stored.view(np.float16), expected)


def test_a_large_vocabulary_is_right_to_six_digits() -> None:
    base = logits_like(4, 151_936, 1, 2.5)
    candidate = base + logits_like(4, 151_936, 2, 0.3)
    targets = np.array([0, 77, 151_935, 9], dtype=np.int32)
    found = compare(candidate, targets, encode(base, targets), 0)
    log_p, log_q = log_softmax(base), log_softmax(candidate)
    exact = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    np.testing.assert_allclose(found.kld, exact, atol=2e-5)
    assert abs(found.kld.mean() - exact.mean()) < 2e-6


def test_masked_tokens_cost_nothing_where_both_mask_them() -> None:
    base = logits_like(2, 300, 1, 2.0)
    base[:, 250:] = -np.inf
    candidate = base + np.float32(0.0)
    candidate[:, :250] += logits_like(2, 250, 2, 0.1)
    targets = np.zeros(2, dtype=np.int32)
    masked = compare(candidate, targets, encode(base, targets), 0)
    short, short_base = candidate[:, :250].copy(), base[:, :250].copy()
    np.testing.assert_allclose(masked.kld, compare(short, targets, encode(short_base, targets), 0).kld, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf])
def test_logits_that_are_no_numbers_are_refused(bad: float) -> None:
    logits = logits_like(3, 50, 1, 2.0)
    targets = np.zeros(3, dtype=np.int32)
    reference = encode(logits, targets)
    logits[1, 17] = bad
    with pytest.raises(DecodeError, match="not all numbers"):
        compare(logits, targets, reference, 0)
    with pytest.raises(DecodeError, match="not all numbers"):
        encode(logits, targets)


def test_the_first_of_equal_logits_is_the_top() -> None:
    logits = np.zeros((1, 40), dtype=np.float32)
    logits[0, [11, 30]] = 3.0
    assert encode(logits, np.zeros(1, dtype=np.int32)).top[0] == 11
    negative = np.full((1, 40), -5.0, dtype=np.float32)
    negative[0, [7, 8]] = -1.0
    assert encode(negative, np.zeros(1, dtype=np.int32)).top[0] == 7


@settings(max_examples=30, deadline=None)
@given(n_vocab=st.integers(2, 500), seed=st.integers(0, 2**32), spread=st.floats(0.05, 12.0))
def test_base_file_rows_hold_log_probabilities_above_the_floor(n_vocab: int, seed: int, spread: float) -> None:
    logits = logits_like(4, n_vocab, seed, spread)
    records = encode_records(logits)
    assert records.shape == (4, row_words(n_vocab))
    scale, lowest = records[:, :4].copy().view(np.float32).T
    decoded = scale[:, None] * records[:, 4 : 4 + n_vocab] + lowest[:, None]
    exact = log_softmax(logits)
    floor = exact.max(axis=1, keepdims=True) - 16.0
    np.testing.assert_allclose(decoded, np.maximum(exact, floor), atol=0.6 * 16 / 65535 + 2e-6)


def test_base_file_rows_of_equal_logits_are_a_flat_distribution() -> None:
    records = encode_records(np.full((1, 8), 2.0, dtype=np.float32))
    scale, lowest = records[0, :4].copy().view(np.float32)
    assert scale == 0.0
    assert lowest == np.float32(-np.log(8.0))
    assert not records[0, 4:].any()


def test_scoring_against_a_base_file_leaves_out_what_is_below_16_nats(tmp_path: object) -> None:
    logits = logits_like(6, 400, 1, 5.0)
    candidate = logits + logits_like(6, 400, 2, 0.2)
    targets = np.arange(6, dtype=np.int32)
    records = encode_records(logits)
    base = BaseFile(path=None, ctx_size=14, n_vocab=400, n_chunks=1, tokens=targets)  # type: ignore[arg-type]
    found = base.compare(candidate, targets, records, 0)
    scale, lowest = records[:, :4].copy().view(np.float32).T
    log_p = (scale[:, None] * records[:, 4:404] + lowest[:, None]).astype(np.float64)
    terms = np.where(log_p > -16, np.exp(log_p) * (log_p - log_softmax(candidate)), 0.0)
    np.testing.assert_allclose(found.kld, terms.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.reference_nll, -log_p[np.arange(6), targets], rtol=1e-6)
