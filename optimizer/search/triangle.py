"""A lower triangular matrix that grows by a row in place, and solves without being copied.

It lies in a square array with room for more rows, whose unused part is that of the identity: LAPACK takes the whole
array as it is, in column order, and what it makes of zeros is zeros.
"""

import numpy as np
import numpy.typing as npt
from scipy.linalg import cholesky, solve_triangular

Floats = npt.NDArray[np.float64]

FIRST_CAPACITY = 16
GROWTH = 1.125


class GrowingTriangle:
    """[n, n], at first [0, 0]."""

    def __init__(self) -> None:
        self._n = 0
        self._table = np.eye(0, order="F")

    def __len__(self) -> int:
        return self._n

    def append(self, row: Floats, corner: float) -> None:
        """One row more: [n] and what stands on the diagonal."""
        n = self._n
        if n == len(self._table):
            grown = np.eye(max(FIRST_CAPACITY, int(GROWTH * n) + 1), order="F")
            grown[:n, :n] = self._table
            self._table = grown
        self._table[n, :n] = row
        self._table[n, n] = corner
        self._n = n + 1

    def diagonal(self) -> Floats:
        return np.diag(self._table)[: self._n]

    def factored(self, added: Floats) -> "GrowingTriangle":
        """The Cholesky factor of the symmetric matrix that this is the lower half of, `added` on its diagonal."""
        n = self._n
        matrix = self._table.copy(order="F")
        matrix[np.arange(n), np.arange(n)] += added
        made = GrowingTriangle()
        made._table = cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        made._n = n
        return made

    def solve(self, values: Floats) -> Floats:
        """x of [n] where self @ x = values."""
        return self._solved(values, transposed=False)

    def solve_both(self, values: Floats) -> Floats:
        """x of [n] where self @ self.T @ x = values."""
        return self._solved(self._solved(values, transposed=False), transposed=True)

    def _solved(self, values: Floats, *, transposed: bool) -> Floats:
        n = self._n
        if not n:
            return values
        padded = np.zeros(len(self._table))
        padded[:n] = values
        solved: Floats = solve_triangular(
            self._table, padded, lower=True, trans=int(transposed), overwrite_b=True, check_finite=False
        )
        return solved[:n]
