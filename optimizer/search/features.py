"""The surrogate's features of trials, grown by one row a trial.

A choice has four groups of features (see `surrogate`): its total, its units' parts, its types' parts and its options'
parts, each the prior damage of the chosen options, summed or not. A kernel row costs O(trials x units). Two tables of
[trials, units] numbers of 8 bytes are kept, and one of 2 bytes.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
FIRST_CAPACITY = 16


class TrialFeatures:
    """prior: [units, options] in nats per token, 0 where there is no option. type_classes: class a option, same shape.

    variances: [4] of the groups' corrections: scale, units, type classes, options.
    """

    def __init__(self, prior: Floats, type_classes: Integers, variances: Floats) -> None:
        n_units, n_options = prior.shape
        self.prior = prior
        self.n_classes = int(type_classes.max(initial=0)) + 1
        self._classes, self._variances = type_classes, variances
        self._rows = np.arange(n_units)
        self._starts = self._rows * n_options
        self._n = 0
        self._choices = np.zeros((0, n_units), dtype=np.int16)
        self._flat = np.zeros((0, n_units), dtype=np.int64)
        self._terms = np.zeros((0, n_units))
        self._totals = np.zeros(0)
        self._class_sums = np.zeros((0, self.n_classes))

    def append(self, choice: Integers) -> None:
        """One more trial."""
        n = self._n
        if n == len(self._choices):
            capacity = max(FIRST_CAPACITY, 2 * n)
            for name in ("_choices", "_flat", "_terms", "_totals", "_class_sums"):
                old = getattr(self, name)
                new = np.zeros((capacity, *old.shape[1:]), dtype=old.dtype)
                new[:n] = old
                setattr(self, name, new)
        self._choices[n] = choice
        self._flat[n] = self._starts + choice
        self._terms[n] = self.prior[self._rows, choice]
        self._totals[n] = self._terms[n].sum()
        self._class_sums[n] = self._sum_by_class(choice)
        self._n = n + 1

    def prior_totals(self) -> Floats:
        """[trials]: expected damage of each before any was measured."""
        return self._totals[: self._n]

    def kernel_row(self, choice: Integers) -> Floats:
        """[trials]: prior covariance of a choice's damage with every trial's."""
        n, variances = self._n, self._variances
        terms = self.prior[self._rows, choice]
        row: Floats = (
            variances[0] * terms.sum() * self._totals[:n]
            + variances[1] * (self._terms[:n] @ terms)
            + variances[2] * (self._class_sums[:n] @ self._sum_by_class(choice))
            + variances[3] * ((self._choices[:n] == choice.astype(np.int16)) @ terms**2)
        )
        return row

    def variance(self, choice: Integers) -> float:
        """Prior variance of a choice's damage."""
        terms = self.prior[self._rows, choice]
        squares = (terms**2).sum()
        groups = (terms.sum() ** 2, squares, (self._sum_by_class(choice) ** 2).sum(), squares)
        return float(self._variances @ np.array(groups))

    def totals(self, table: Floats) -> Floats:
        """[trials]: the table's entries, [units, options], summed over each trial's options."""
        totals: Floats = np.take(table.ravel(), self._flat[: self._n]).sum(axis=1)
        return totals

    def spread_back(self, weights: Floats) -> Floats:
        """[units, options]: prior covariance of every option's damage with the trials, times `weights` ([trials])."""
        n, variances = self._n, self._variances
        weighted = (weights[:, None] * self._terms[:n]).ravel()
        by_option = np.bincount(self._flat[:n].ravel(), weights=weighted, minlength=self.prior.size)
        factors: Floats = (
            variances[0] * (weights @ self._totals[:n])
            + variances[1] * (weights @ self._terms[:n])[:, None]
            + variances[2] * (weights @ self._class_sums[:n])[self._classes]
            + variances[3] * by_option.reshape(self.prior.shape)
        )
        return self.prior * factors

    def _sum_by_class(self, choice: Integers) -> Floats:
        terms = self.prior[self._rows, choice]
        sums: Floats = np.bincount(self._classes[self._rows, choice], weights=terms, minlength=self.n_classes).astype(
            np.float64
        )
        return sums
