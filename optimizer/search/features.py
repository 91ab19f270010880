"""The surrogate's features of trials and their products, grown by one row a trial.

A choice has four groups of features (see `surrogate`): its total, its unit's parts, its types' parts and its options'
parts, each the prior damage of the chosen options summed or not. Products of two trials within each group are kept
apart, so that the spreads of the groups may change without looking at the choices again. One trial costs O(trials x
units); memory for 1,000 trials of 1,000 units is 8 MB a table and 8 MB a group.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
GROUPS = 4
"""Scale, units, type classes, options."""
FIRST_CAPACITY = 16


class TrialFeatures:
    """Prior [units, options] in nats per token, 0 where there is no option; type class a option, the same shape."""

    def __init__(self, prior: Floats, type_classes: Integers) -> None:
        self.prior = prior
        self.n_trials = 0
        self.n_classes = int(type_classes.max(initial=0)) + 1
        self._classes = type_classes
        self._starts = np.arange(prior.shape[0]) * prior.shape[1]
        self._choices = np.zeros((0, prior.shape[0]), dtype=np.int16)
        self._terms = np.zeros((0, prior.shape[0]))
        self._class_sums = np.zeros((0, self.n_classes))
        self._products = np.zeros((GROUPS, 0, 0))

    def append(self, choice: Integers) -> None:
        n = self.n_trials
        if n == len(self._choices):
            self._grow(max(FIRST_CAPACITY, 2 * n))
        rows = np.arange(len(choice))
        self._choices[n] = choice
        self._terms[n] = self.prior[rows, choice]
        self._class_sums[n] = self._sum_by_class(choice)
        self.n_trials = n + 1
        row = self.products_with(choice)
        self._products[:, n, : n + 1] = row
        self._products[:, : n + 1, n] = row

    def products(self) -> Floats:
        """[groups, trials, trials]"""
        return self._products[:, : self.n_trials, : self.n_trials]

    def products_with(self, choice: Integers) -> Floats:
        """[groups, trials]: of a choice with every trial."""
        n = self.n_trials
        terms = self.prior[np.arange(len(choice)), choice]
        return np.stack(
            (
                self._terms[:n].sum(axis=1) * terms.sum(),
                self._terms[:n] @ terms,
                self._class_sums[:n] @ self._sum_by_class(choice),
                (self._choices[:n] == choice.astype(np.int16)) @ terms**2,
            )
        )

    def self_products(self, choice: Integers) -> Floats:
        """[groups]: of a choice with itself."""
        terms = self.prior[np.arange(len(choice)), choice]
        squares = float((terms**2).sum())
        return np.array([terms.sum() ** 2, squares, (self._sum_by_class(choice) ** 2).sum(), squares])

    def totals(self, table: Floats) -> Floats:
        """[trials]: the table's entries, [units, options], summed over each trial's options."""
        chosen = np.take(table.ravel(), self._starts + self._choices[: self.n_trials])
        totals: Floats = chosen.sum(axis=1)
        return totals

    def spread_back(self, weights: Floats, variances: Floats) -> Floats:
        """[units, options]: covariance of every option's damage with the trials, times `weights` ([trials])."""
        n = self.n_trials
        terms = self._terms[:n]
        weighted = weights[:, None] * terms
        flat = (self._starts + self._choices[:n]).ravel()
        by_option = np.bincount(flat, weights=weighted.ravel(), minlength=self.prior.size).reshape(self.prior.shape)
        factors: Floats = (
            variances[0] * weighted.sum()
            + variances[1] * weighted.sum(axis=0)[:, None]
            + variances[2] * (weights @ self._class_sums[:n])[self._classes]
            + variances[3] * by_option
        )
        return self.prior * factors

    def _sum_by_class(self, choice: Integers) -> Floats:
        rows = np.arange(len(choice))
        return np.bincount(self._classes[rows, choice], weights=self.prior[rows, choice], minlength=self.n_classes)

    def _grow(self, capacity: int) -> None:
        n = self.n_trials
        choices, terms = np.zeros((capacity, len(self.prior)), dtype=np.int16), np.zeros((capacity, len(self.prior)))
        class_sums, products = np.zeros((capacity, self.n_classes)), np.zeros((GROUPS, capacity, capacity))
        choices[:n], terms[:n], class_sums[:n] = self._choices[:n], self._terms[:n], self._class_sums[:n]
        products[:, :n, :n] = self._products[:, :n, :n]
        self._choices, self._terms, self._class_sums, self._products = choices, terms, class_sums, products
