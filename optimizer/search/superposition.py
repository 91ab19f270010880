"""Damage of a recipe from the errors themselves: what each unit does to the logits adds up, and so do trials' vectors.

Quantizing a unit moves the logits of every token by an error vector, and the errors of units add up (on the demo model
within 1 to 3 % of the squared length; docs/log.md). So a recipe's vector is the sum of its options' vectors, its KLD is
half the squared length, and whatever cancels or reinforces between units is in the sum (`evaluators.kernel.error_rows`
says what a vector is). An option's vector is learnt from the trials that had it, by Gaussian process regression on the
vectors:

    vector(choice) = sum_u e[u, o_u],   e[u, o] ~ normal, of squared length 2 m[u, o] in the mean,   m: the prior damage

and the same weights for all their numbers. What is not known of an option counts its prior damage. All is kept in an
orthonormal basis of the trials' vectors, so that a number of a table below is as wide as there are trials.
"""

import numpy as np
import numpy.typing as npt

from optimizer.search.landscape import Landscape

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NONADDITIVE = 0.005
"""Share of a vector's squared length that no sum explains."""
FLATTENED = 0.85
"""Power of the prior damage: what probes say of single options spreads too far."""
CROSS = 0.7
"""Share of what units do to each other that is believed: part of it is these chunks' own."""
FIRST_CAPACITY = 16
ROUNDING = 1e-9
"""Share of a vector's length below which what is left of it is rounding."""


class VectorSum:
    """The regression on one part of the text. prior: [units, options] in nats per token, 0 where there is no option."""

    def __init__(self, prior: Floats) -> None:
        self._variance = 2.0 * prior.ravel()
        self._starts = np.arange(len(prior)) * prior.shape[1]
        self._directions = np.zeros((0, 0))  # orthonormal rows, and room for more
        self._whitened = np.zeros((0, 0))  # [trials, trials]: the whitened vectors in their basis
        self.known = np.zeros((prior.size, 0))
        """[options, trials]: what trials tell of each option; the squares sum to the variance that they explain."""
        self.mean = np.zeros((prior.size, 0))
        """[options, trials]: each option's expected vector, in the basis."""

    def __len__(self) -> int:
        return len(self._whitened)

    def tell(self, choice: Integers, vector: Floats) -> None:
        """One more trial; vectors of one length all. O(options x trials + vector x trials)."""
        chosen = self._starts + choice
        own = float(self._variance[chosen].sum())
        explained = self.known[chosen].sum(axis=0)
        scale = np.sqrt(max(own * (1 + NONADDITIVE) - float(explained @ explained), NONADDITIVE * own / 10))
        column = -(self.known @ explained)
        column[chosen] += self._variance[chosen]
        column /= scale
        self._add_vector(vector, explained, scale)
        self.known = np.column_stack([self.known, column])
        self.mean = np.column_stack([self.mean, np.zeros(len(column))]) + np.outer(column, self._whitened[-1])

    def _add_vector(self, vector: Floats, explained: Floats, scale: float) -> None:
        """The whitened vector, and its coordinates in the orthonormal basis of all of them (Gram-Schmidt, twice)."""
        n = len(self)
        if n == len(self._directions):
            grown = np.zeros((max(FIRST_CAPACITY, 2 * n), vector.size))
            if n:
                grown[:n] = self._directions
            self._directions = grown
        basis, coordinates = self._directions[:n], np.zeros(n + 1)
        rest = (vector - (explained @ self._whitened) @ basis) / scale
        for _ in range(2):
            along = basis @ rest
            coordinates[:n] += along
            rest = rest - along @ basis
        length = float(np.linalg.norm(rest))
        if length > ROUNDING * float(np.linalg.norm(coordinates)):  # else there are more trials than numbers
            coordinates[n] = length
            self._directions[n] = rest / length
        self._whitened = np.vstack([np.column_stack([self._whitened, np.zeros(n)]), coordinates])


class Superposition:
    """Expected damage of choices, over parts of the text that trials saw one after the other (a race's rungs).

    prior: [units, options] in nats per token (inf or nan where a unit has no such option). parts: numbers of chunks at
    which the rungs end.
    """

    def __init__(self, prior: Floats, parts: tuple[int, ...]) -> None:
        known = np.isfinite(prior) & (prior > 0)
        floor = float(prior[known].min(initial=1.0))
        damage = np.where(known, prior, floor) ** FLATTENED
        self._prior = np.where(np.isfinite(prior), damage, 0.0)
        self._rows = np.arange(len(prior))
        self._starts = self._rows * prior.shape[1]
        self._ends = parts
        self._sums = [VectorSum(self._prior) for _ in parts]
        self._levels: list[list[float]] = [[] for _ in parts]

    @property
    def trials(self) -> int:
        """Trials of which the whole text is known."""
        return len(self._sums[-1])

    def tell(self, choice: Integers, errors: Floats) -> None:
        """errors: [chunks seen, numbers]; half of all squares is the damage in nats per token."""
        start = 0
        for end, regression, levels in zip(self._ends, self._sums, self._levels, strict=True):
            if len(errors) < end:
                break
            part = errors[start:end].ravel()
            regression.tell(choice, part)
            levels.append(float(part @ part) / 2 / float(self._prior[self._rows, choice].sum()))
            start = end

    def predict(self, choice: Integers) -> tuple[float, float]:
        """Expected damage of a choice in nats per token, and how much of it stands for what no trial has shown."""
        chosen, known, unknown = self._starts + choice, 0.0, 0.0
        for regression, level in zip(self._sums, self._level_of_parts(), strict=True):
            known += float(np.square(regression.mean[chosen].sum(axis=0)).sum()) / 2
            explained = float(np.square(regression.known[chosen].sum(axis=0)).sum()) / 2
            unknown += level * max(0.0, float(self._prior[self._rows, choice].sum()) - explained)
        return known + unknown, unknown

    def landscape(self, doubts: Floats | None = None) -> Landscape:
        """Expected damage as a search for the least of it wants it. doubts: [units, options], how many times an
        option's unknown damage is to be taken.
        """
        shape = self._prior.shape
        factor = np.ones(shape) if doubts is None else doubts
        costs, features, signs = np.zeros(shape), [], []
        for regression, level in zip(self._sums, self._level_of_parts(), strict=True):
            costs += level * factor * self._prior
            costs += (1 - CROSS) / 2 * np.square(regression.mean).sum(axis=1).reshape(shape)
            features += [np.sqrt(CROSS) * regression.mean, np.sqrt(level * factor).reshape(-1, 1) * regression.known]
            signs += [np.ones(len(regression)), -np.ones(len(regression))]
        return Landscape(np.hstack(features).reshape(*shape, -1), np.concatenate(signs), costs)

    def _level_of_parts(self) -> list[float]:
        return [float(np.median(levels)) if levels else 0.0 for levels in self._levels]
