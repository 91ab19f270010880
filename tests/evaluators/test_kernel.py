"""The fused kernels against the formulas written out in float64 numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evaluators import kernel
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


def error_vectors(base: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.float64]:
    """[rows * n_vocab], as `error_rows` defines them and nothing folded."""
    log_p, log_q = log_softmax(base), log_softmax(candidate)
    p, moved = np.exp(log_p), log_q - log_p
    kld = -(p * moved).sum(axis=1, keepdims=True)
    vectors = np.sqrt(p) * (moved + kld)
    length = np.sqrt(2 * kld / np.square(vectors).sum(axis=1, keepdims=True))
    result: NDArray[np.float64] = (length * vectors).ravel()
    return result


def folded(base: NDArray[np.float32], candidate: NDArray[np.float32], first: int = 0) -> NDArray[np.float64]:
    """[rows, SKETCH_SIZE]"""
    reference = encode(base, np.zeros(len(base), dtype=np.int32))
    sketches = np.zeros((len(base), kernel.SKETCH_SIZE))
    kernel.error_rows(candidate, reference.log_weights, first, sketches)
    return sketches


def test_half_of_a_rows_squares_is_its_kld() -> None:
    base = logits_like(400, 300, 1, 2.5)
    candidate = base + logits_like(400, 300, 2, 0.1)
    targets = np.zeros(400, dtype=np.int32)
    kld = compare(candidate, targets, encode(base, targets), 0).kld
    # Folding is right in the mean over rows: one row is off by some sqrt(2 / 64) of itself.
    assert (np.square(folded(base, candidate)).sum(axis=1) / 2).mean() == pytest.approx(kld.mean(), rel=0.03)


def test_inner_products_of_folded_vectors_are_those_of_whole_ones() -> None:
    base = logits_like(300, 500, 3, 2.5)
    first, second = (logits_like(300, 500, seed, 0.05) for seed in (4, 5))
    candidates = [base + first, base + second, base + first + second, base + first - second]
    whole = np.array([error_vectors(base, each) for each in candidates])
    parts = np.array([folded(base, each).sum(axis=0) for each in candidates])
    expected, found = whole @ whole.T, parts @ parts.T
    lengths = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(found - expected).max() < 0.5 * lengths.max()  # of 64 numbers: sqrt(2 / 64) a standard deviation
    many = [sum(folded(base, each, 300 * n).sum(axis=0) @ folded(base, other, 300 * n).sum(axis=0) for n in range(40))
            for each, other in ((candidates[0], candidates[2]), (candidates[0], candidates[1]))]  # fmt: skip
    assert many[0] / 40 == pytest.approx(expected[0, 2], abs=0.1 * lengths[0, 2])
    assert many[1] / 40 == pytest.approx(expected[0, 1], abs=0.1 * lengths[0, 1])


def test_small_errors_add_up() -> None:
    base = logits_like(100, 400, 6, 2.5)
    first, second = (logits_like(100, 400, seed, 0.02) for seed in (7, 8))
    parts = [folded(base, base + each).sum(axis=0) for each in (first, second, first + second)]
    assert np.linalg.norm(parts[0] + parts[1] - parts[2]) < 0.05 * np.linalg.norm(parts[2])


def test_a_model_has_no_errors_against_itself() -> None:
    base = logits_like(5, 300, 9, 2.5).astype(np.float16).astype(np.float32)
    exact = base - base.max(axis=1, keepdims=True)  # float16 keeps these, so that the reference is the model itself
    exact = exact.astype(np.float16).astype(np.float32)
    assert np.abs(folded(exact, exact)).max() < 1e-3


def test_rows_of_a_chunk_that_comes_in_parts_are_folded_as_in_one() -> None:
    base, candidate = logits_like(8, 300, 10, 2.5), logits_like(8, 300, 11, 2.5)
    whole = folded(base, candidate)
    np.testing.assert_array_equal(whole[5:], folded(base[5:], candidate[5:], 5))
    assert not np.array_equal(whole[5:], folded(base[5:], candidate[5:], 0))


def test_rounding_is_not_taken_for_errors() -> None:
    base = logits_like(200, 900, 12, 2.5)
    base[np.arange(200), np.arange(200)] += 30  # as sure as a model is of some tokens
    candidate = base + logits_like(200, 900, 13, 1e-4)
    assert np.square(folded(base, candidate)).sum(axis=1).max() / 2 < 1e-5
