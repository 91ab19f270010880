"""The growing factor against numpy's dense algebra."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.triangle import FIRST_CAPACITY, GrowingTriangle


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3 * FIRST_CAPACITY))
def test_grown_row_by_row_it_solves_as_the_dense_matrix_does(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.tril(rng.normal(size=(n, n))) + 3 * np.eye(n)
    triangle = GrowingTriangle()
    for row in range(n):
        triangle.append(dense[row, :row], float(dense[row, row]))
    values = rng.normal(size=n)
    assert len(triangle) == n
    assert np.array_equal(triangle.diagonal(), np.diag(dense))
    assert np.allclose(dense @ triangle.solve(values), values)
    assert np.allclose(dense @ (dense.T @ triangle.solve_both(values)), values)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3 * FIRST_CAPACITY))
def test_factored_is_the_cholesky_factor_and_grows_on(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n + 1, n + 1))
    kernel, noise = root @ root.T, rng.uniform(0.5, 1.0, n + 1)
    lower = GrowingTriangle()
    for row in range(n):
        lower.append(kernel[row, :row], float(kernel[row, row]))
    factor = lower.factored(noise[:n])
    whitened = factor.solve(kernel[n, :n])
    factor.append(whitened, float(np.sqrt(kernel[n, n] + noise[n] - whitened @ whitened)))
    values = rng.normal(size=n + 1)
    assert np.allclose((kernel + np.diag(noise)) @ factor.solve_both(values), values)
    assert len(lower) == n


def test_an_empty_one_solves_nothing() -> None:
    assert GrowingTriangle().solve_both(np.zeros(0)).shape == (0,)
