"""Column sums of squares in float32, each column's in the order of its rows: the figures of llama-imatrix to the bit.

Threads share the columns out, so their number changes nothing. No flag lets the compiler fuse or reorder: the tool's
own loop rounds after the multiplication and after the addition. Everything here must stay in this file, since numba's
cache looks at the date of a kernel's own file only.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from evaluators.kernel_cache import use_private_cache

use_private_cache()

Floats = NDArray[np.float32]

_TILE = 1024  # columns summed at a time: they stay in the first cache
PARALLEL_FROM = 1 << 20  # activations below which starting threads costs more than it saves


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _add_row(sums: Floats, row: Floats) -> None:
    for column in range(sums.size):
        value = row[column]
        sums[column] += value * value


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _dense_tile(
    data: Floats, strides: NDArray[np.int64], shape: NDArray[np.int64], sums: Floats, inner: int, first: int, last: int
) -> None:
    for i3 in range(shape[3]):
        for i2 in range(shape[2]):
            matrix = (i3 % (sums.shape[0] // inner)) * inner + i2 % inner
            for i1 in range(shape[1]):
                start = i1 * strides[1] + i2 * strides[2] + i3 * strides[3]
                _add_row(sums[matrix, first:last], data[start + first : start + last])


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def add_dense(data: Floats, strides: NDArray[np.int64], shape: NDArray[np.int64], sums: Floats, inner: int) -> None:
    """Add the squares of an activation tensor of up to four dimensions to the sums of its weight's matrices.

    data: flat, with `strides` in elements and `shape` as ggml counts them (columns first). sums: [matrices, columns];
    `inner` is the weight's third dimension.
    """
    columns = shape[0]
    for first in range(0, columns, _TILE):
        _dense_tile(data, strides, shape, sums, inner, first, min(first + _TILE, columns))


@numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)  # type: ignore[untyped-decorator]
def add_dense_parallel(
    data: Floats, strides: NDArray[np.int64], shape: NDArray[np.int64], sums: Floats, inner: int, tile: int
) -> None:
    """As add_dense, `tile` columns at a time shared out over numba's threads."""
    columns = shape[0]
    for part in numba.prange((columns + tile - 1) // tile):
        _dense_tile(data, strides, shape, sums, inner, part * tile, min((part + 1) * tile, columns))


def share(columns: int, threads: int) -> int:
    """Columns a thread: whole cache lines, and no more than stay in the first cache."""
    return max(64, min(_TILE, -(-columns // (16 * threads)) * 16))


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def _expert_tile(
    data: Floats, strides: NDArray[np.int64], rows: int, experts: NDArray[np.int32], sums: Floats, first: int, last: int
) -> None:
    tokens, used = experts.shape
    for slot in range(used):
        for token in range(tokens):
            start = (slot % rows) * strides[1] + token * strides[2]
            _add_row(sums[experts[token, slot], first:last], data[start + first : start + last])


@numba.njit(cache=True, error_model="numpy", nogil=True)  # type: ignore[untyped-decorator]
def add_experts(data: Floats, strides: NDArray[np.int64], rows: int, experts: NDArray[np.int32], sums: Floats) -> None:
    """Add the squares of each token's activations to the sums of the experts it was sent to.

    data: flat [columns, rows, tokens] with `strides` in elements; 1 row where all of a token's experts see the same.
    experts: [tokens, used], the experts' numbers; all within sums, which is [experts, columns].
    """
    _expert_tile(data, strides, rows, experts, sums, 0, sums.shape[1])


@numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)  # type: ignore[untyped-decorator]
def add_experts_parallel(
    data: Floats, strides: NDArray[np.int64], rows: int, experts: NDArray[np.int32], sums: Floats, tile: int
) -> None:
    """As add_experts, `tile` columns at a time shared out over numba's threads."""
    columns = sums.shape[1]
    for part in numba.prange((columns + tile - 1) // tile):
        _expert_tile(data, strides, rows, experts, sums, part * tile, min((part + 1) * tile, columns))
