"""The sums of squares against the same sums taken one value after the other."""

import numpy as np
import pytest

from evaluators.imatrix import squares

RANDOM = np.random.default_rng(3)


def one_by_one(rows: np.ndarray) -> np.ndarray:
    sums = np.zeros(rows.shape[1], np.float32)
    for row in rows:
        sums = sums + row * row
    return sums


@pytest.mark.parametrize("tile", [None, 64])
def test_rows_are_summed_in_order_and_by_matrix(tile: int | None) -> None:
    data = RANDOM.normal(size=(2, 3, 40, 200)).astype(np.float32)  # ggml's ne = [200, 40, 3, 2]
    strides = np.array([each // 4 for each in reversed(data.strides)])
    sums = np.zeros((3, 200), np.float32)
    arguments = (data.reshape(-1), strides, np.array([200, 40, 3, 2]), sums, 3)
    if tile is None:
        squares.add_dense(*arguments)
    else:
        squares.add_dense_parallel(*arguments, tile)
    for matrix in range(3):
        expected = one_by_one(np.concatenate([data[0, matrix], data[1, matrix]]))
        np.testing.assert_array_equal(sums[matrix], expected)


def test_a_flat_weight_takes_all_activations() -> None:
    data = RANDOM.normal(size=(3, 20, 64)).astype(np.float32)
    sums = np.zeros((1, 64), np.float32)
    squares.add_dense(data.reshape(-1), np.array([1, 64, 64 * 20, 64 * 60]), np.array([64, 20, 3, 1]), sums, 1)
    np.testing.assert_array_equal(sums[0], one_by_one(data.reshape(-1, 64)))


@pytest.mark.parametrize("tile", [None, 64])
@pytest.mark.parametrize("rows", [1, 2])
def test_each_expert_sees_its_tokens(tile: int | None, rows: int) -> None:
    """Gate and up see one row a token, down one for each of the token's experts."""
    data = RANDOM.normal(size=(50, rows, 130)).astype(np.float32)
    experts = np.stack([RANDOM.permutation(5)[:2] for _ in range(50)]).astype(np.int32)
    experts[experts == 4] = 0
    sums = np.zeros((5, 130), np.float32)
    strides = np.array([1, 130, 130 * rows, 130 * rows * 50])
    if tile is None:
        squares.add_experts(data.reshape(-1), strides, rows, experts, sums)
    else:
        squares.add_experts_parallel(data.reshape(-1), strides, rows, experts, sums, tile)
    for expert in range(5):
        chosen = [
            data[token, slot % rows] for slot in range(2) for token in range(50) if experts[token, slot] == expert
        ]
        expected = one_by_one(np.stack(chosen)) if chosen else np.zeros(130, np.float32)
        np.testing.assert_array_equal(sums[expert], expected)
    assert not sums[4].any()


def test_columns_beyond_a_tile() -> None:
    data = RANDOM.normal(size=(16, 2500)).astype(np.float32)
    sums = np.zeros((1, 2500), np.float32)
    squares.add_dense(data.reshape(-1), np.array([1, 2500, 40000, 40000]), np.array([2500, 16, 1, 1]), sums, 1)
    np.testing.assert_array_equal(sums[0], one_by_one(data))


def test_the_share_of_a_thread() -> None:
    assert squares.share(4096, 2) == 1024
    assert squares.share(1000, 4) == 256
    assert squares.share(100, 8) == 64
