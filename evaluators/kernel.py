"""The per-logit arithmetic: one parallel pass over rows of a whole vocabulary, without temporaries.

Rows are shared out over threads; each row is read twice (largest logit, then all sums), the second time from cache.
Exponentials are float32, good to about 1e-7; sums are float64. Everything in this file must stay in this file:
numba's cache looks at the date of the file of a kernel only, not at those of what it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

from evaluators.kernel_cache import use_private_cache

use_private_cache()

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Codes = NDArray[np.uint16]
Ints = NDArray[np.int32]

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Sums may be reordered (that is what makes them vector code), but NaN and infinity keep their meaning, so that a
# candidate whose logits are not numbers is seen.
_MATH = {"reassoc", "contract", "nsz", "arcp"}


def _inner(function: _Function) -> _Function:
    return cast(_Function, numba.njit(cache=True, fastmath=_MATH, error_model="numpy", nogil=True)(function))


def _kernel(function: _Function) -> _Function:
    compiled = numba.njit(cache=True, fastmath=_MATH, error_model="numpy", nogil=True, parallel=True)(function)
    return cast(_Function, compiled)


def _exact_inner(function: _Function) -> _Function:
    """Operations in the order written; a multiplication and an addition may still become one, which only helps."""
    return cast(_Function, numba.njit(cache=True, fastmath={"contract"}, error_model="numpy", nogil=True)(function))


def _strict_inner(function: _Function) -> _Function:
    """Every operation rounded as written, also where it is inlined into a kernel that may reorder its own.

    A function without any flag would inherit its caller's; the sign of zero is a flag that changes nothing here.
    """
    return cast(_Function, numba.njit(cache=True, fastmath={"nsz"}, error_model="numpy", nogil=True)(function))


def _strict_kernel(function: _Function) -> _Function:
    """Every operation rounded as written."""
    compiled = numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)(function)
    return cast(_Function, compiled)


_LOWEST = np.float32(-65504.0)  # the largest finite float16; masked tokens (-inf) become this


@_inner
def _float_of(bits: np.int32) -> np.float32:
    return np.int32(bits).view(np.float32)  # numba wants the dtype spelled out before a view


@_inner
def _bits_of(value: np.float32) -> np.int32:
    return np.float32(value).view(np.int32)


@_exact_inner
def _exp(x: np.float32) -> np.float32:
    """e^x for x <= 0 to about one unit in the last place: 2^n * e^r with |r| <= ln(2)/2, as Cephes' expf.

    ln(2) is subtracted in two parts, the first of which times n is exact; reordering would undo that. NaN stays NaN.
    """
    x = np.float32(-87.0) if x < np.float32(-87.0) else x
    n = np.int32(x * np.float32(1.44269504088896341) - np.float32(0.5))
    r = x - np.float32(n) * np.float32(0.693359375)
    r = r + np.float32(n) * np.float32(2.12194440e-4)
    p = np.float32(1.9875691500e-4)
    p = p * r + np.float32(1.3981999507e-3)
    p = p * r + np.float32(8.3334519073e-3)
    p = p * r + np.float32(4.1665795894e-2)
    p = p * r + np.float32(1.6666665459e-1)
    p = p * r + np.float32(5.0000001201e-1)
    p = p * (r * r) + r + np.float32(1.0)
    return p * _float_of(np.int32((n + np.int32(127)) << np.int32(23)))


@_inner
def _largest(bits: Ints) -> np.float32:
    """Largest float32 of a row given as its bits; integers are compared because those vectorise without assumptions."""
    best = np.int32(-2147483648)
    for i in range(bits.size):
        value = bits[i]
        ordered = np.int32(value ^ ((value >> np.int32(31)) & np.int32(0x7FFFFFFF)))
        best = ordered if ordered > best else best
    return _float_of(np.int32(best ^ ((best >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@_inner
def _first_equal(row: Floats, value: np.float32) -> np.int32:
    found = np.int32(row.size)
    for i in range(row.size):
        here = np.int32(i) if row[i] == value else np.int32(2147483647)
        found = here if here < found else found
    return found


@_inner
def _log_sum(row: Floats, largest: np.float32) -> float:
    total = 0.0
    for i in range(row.size):
        total += np.float64(_exp(row[i] - largest))
    return float(np.log(total))


@_inner
def _decode_weight(code: np.uint16) -> np.float32:
    """float16 bits of a number <= 0, as float32."""
    magnitude = _float_of(np.int32((np.int32(code) & np.int32(0x7FFF)) << np.int32(13)))
    return magnitude * np.float32(-5.192296858534828e33)  # 2^112, the difference of the exponents' biases


@_inner
def _encode_weight(value: np.float32) -> np.uint16:
    """float16 bits of a number <= 0, rounded to nearest even, -65504 at the least."""
    magnitude = -value
    magnitude = np.float32(65504.0) if magnitude > np.float32(65504.0) else magnitude
    bits = _bits_of(magnitude)
    normal = ((bits + np.int32(0xFFF) + ((bits >> np.int32(13)) & np.int32(1))) >> np.int32(13)) - np.int32(112 << 10)
    tiny = np.int32(magnitude * np.float32(16777216.0) + np.float32(0.5))
    code = tiny if magnitude < np.float32(6.103515625e-05) else normal
    return np.uint16(code | np.int32(0x8000))


@_kernel
def nll_rows(logits: Floats, targets: Ints, nll: Doubles, top: Ints) -> None:
    """Fill nll (nats) and the most probable token of each row. logits: [rows, n_vocab], targets: [rows]."""
    for row in numba.prange(logits.shape[0]):
        values = logits[row]
        largest = _largest(values.view(np.int32))
        nll[row] = np.float64(largest) - np.float64(values[targets[row]]) + _log_sum(values, largest)
        top[row] = _first_equal(values, largest)


@_kernel
def encode_rows(logits: Floats, targets: Ints, log_weights: Codes, nll: Doubles, top: Ints) -> None:
    """As nll_rows, and fill log_weights [rows, n_vocab] with the bits of float16(logit - largest logit)."""
    for row in numba.prange(logits.shape[0]):
        values = logits[row]
        codes = log_weights[row]
        largest = _largest(values.view(np.int32))
        nll[row] = np.float64(largest) - np.float64(values[targets[row]]) + _log_sum(values, largest)
        top[row] = _first_equal(values, largest)
        for i in range(values.size):
            codes[i] = _encode_weight(values[i] - largest)


@_inner
def _divergence_row(values: Floats, codes: Codes, largest: np.float32) -> tuple[float, float]:
    """KLD of one row, and the logarithm of the candidate's sum of exponentials.

    With w the reference's stored log weights, W = sum e^w, d = logit - largest and D = sum e^d:
    KLD = (1/W) sum e^w (w - d) - ln W + ln D, so that one pass needs no normalised row.
    """
    weight_total = 0.0
    weighted = 0.0
    total = 0.0
    for i in range(values.size):
        w = _decode_weight(codes[i])
        d = values[i] - largest
        d = _LOWEST if d < _LOWEST else d
        weight = _exp(w)
        weight_total += np.float64(weight)
        weighted += np.float64(weight * (w - d))
        total += np.float64(_exp(d))
    log_total = np.log(total)
    return weighted / weight_total - np.log(weight_total) + log_total, log_total


@_kernel
def divergence_rows(logits: Floats, log_weights: Codes, targets: Ints, kld: Doubles, nll: Doubles, top: Ints) -> None:
    """Fill kld and nll (nats) and the candidate's top token. logits, log_weights: [rows, n_vocab]; the rest: [rows]."""
    for row in numba.prange(logits.shape[0]):
        values = logits[row]
        largest = _largest(values.view(np.int32))
        kld[row], log_total = _divergence_row(values, log_weights[row], largest)
        nll[row] = np.float64(largest) - np.float64(values[targets[row]]) + log_total
        top[row] = _first_equal(values, largest)


@_strict_inner
def _base_file_log_p(scale: np.float32, code: np.uint16, lowest: np.float32) -> np.float32:
    return np.float32(np.float32(scale * np.float32(code)) + lowest)


@_strict_inner
def _base_file_term(weight: np.float32, log_p: np.float32, value: np.float32, log_total: np.float32) -> np.float32:
    return np.float32(weight * np.float32(np.float32(log_p - value) + log_total))


@_inner
def _base_file_row(values: Floats, codes: Codes, scale: np.float32, lowest: np.float32, log_total: np.float32) -> float:
    """llama-perplexity's sum: log p = scale * code + lowest, tokens at or below -16 nats left out."""
    total = 0.0
    for i in range(values.size):
        log_p = _base_file_log_p(scale, codes[i], lowest)
        term = _base_file_term(_exp(log_p), log_p, values[i], log_total)
        total += np.float64(term) if log_p > np.float32(-16.0) else 0.0
    return total


@_kernel
def base_file_rows(
    logits: Floats, records: Codes, scales: Floats, lowest: Floats, targets: Ints, kld: Doubles, nll: Doubles, top: Ints
) -> None:
    """As divergence_rows, against rows of a --kl-divergence-base file, in that tool's float32 arithmetic.

    records: [rows, words], the codes from the fifth word on.
    """
    for row in numba.prange(logits.shape[0]):
        values = logits[row]
        largest = _largest(values.view(np.int32))
        log_total = largest + np.float32(_log_sum(values, largest))
        kld[row] = _base_file_row(values, records[row, 4:], scales[row], lowest[row], log_total)
        nll[row] = np.float64(log_total - values[targets[row]])
        top[row] = _first_equal(values, largest)


@_strict_kernel
def base_file_encode_rows(logits: Floats, records: Codes, scales: Floats, lowest: Floats) -> None:
    """Fill the codes, scale and lowest log-probability of each row, rounding wherever llama-perplexity rounds.

    Its expf is correctly rounded but for rare last bits, which the rounded double-precision exponential here is too.
    """
    for row in numba.prange(logits.shape[0]):
        values = logits[row]
        largest = values[0]
        smallest = values[0]
        for i in range(values.size):
            largest = max(largest, values[i])
            smallest = min(smallest, values[i])
        smallest = max(smallest, np.float32(largest - np.float32(16.0)))
        total = 0.0
        for i in range(values.size):
            total += np.float64(np.float32(np.exp(np.float64(np.float32(values[i] - largest)))))
        log_total = np.float32(np.log(total))
        scale = np.float32(np.float32(largest - smallest) / np.float32(65535.0))
        scales[row] = scale
        lowest[row] = np.float32(np.float32(smallest - largest) - log_total)
        inverse = np.float32(np.float32(1.0) / scale) if scale > np.float32(0.0) else np.float32(0.0)
        for i in range(values.size):
            if values[i] > smallest:
                records[row, 4 + i] = np.uint16(np.rint(np.float32(inverse * np.float32(values[i] - smallest))))
            else:
                records[row, 4 + i] = np.uint16(0)
