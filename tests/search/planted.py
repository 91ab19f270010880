"""A search whose units' error vectors are known, and add up."""

from collections.abc import Container

import numpy as np
import numpy.typing as npt

from optimizer.search.decoding import decode, random_damage
from optimizer.search.problem import Integers, SearchProblem
from tests.search.synthetic import synthetic_search

CHUNKS, NUMBERS = 12, 16
RUNGS = (4, 12)


class Planted:
    """cosine: spread of what two options' vectors have in common."""

    def __init__(self, seed: int, n_units: int = 16, cosine: float = 0.1, *, shuffled: bool = False) -> None:
        made = synthetic_search(seed, n_units, shuffled=shuffled)
        self._problem, self.rng = made.problem, np.random.default_rng((seed, 34))
        assert made.problem.prior is not None
        self.prior = made.problem.prior.damage
        self.rows = np.arange(n_units)
        shape = (*self.prior.shape, CHUNKS * NUMBERS)
        common = self.rng.standard_normal((round(1 / cosine**2), shape[2]))
        mixed = self.rng.standard_normal((*self.prior.shape, len(common))) @ common / np.sqrt(len(common))
        directions = mixed / np.linalg.norm(mixed, axis=2, keepdims=True)
        self.vectors: npt.NDArray[np.float64] = directions * np.sqrt(2 * made.truth)[:, :, None]

    def errors(self, choice: Integers) -> npt.NDArray[np.float64]:
        return self.vectors[self.rows, choice].sum(axis=0).reshape(CHUNKS, NUMBERS)

    def damage(self, choice: Integers) -> float:
        return float(np.square(self.errors(choice)).sum() / 2)

    def random_choices(self, count: int) -> list[Integers]:
        space, budget = self._problem.space, self._problem.budget_bytes
        return [decode(space, random_damage(space, self.rng), budget) for _ in range(count)]

    def problem(self, *, knows_errors: bool, without: Container[bytes] = ()) -> SearchProblem:
        def errors_of(choice: Integers, share: float) -> npt.NDArray[np.float64] | None:
            if not knows_errors or choice.tobytes() in without:
                return None
            return self.errors(choice)[: round(share * CHUNKS)]

        given = self._problem
        return SearchProblem(
            given.space, given.budget_bytes, given.parameters, given.seed, given.prior, None, errors_of, RUNGS
        )
