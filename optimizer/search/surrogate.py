"""Damage of a recipe as a sum over units, learnt from trials: a prior from probes, corrected by Bayesian regression.

    damage(choice) = sum_u m[u, o_u] * (1 + g + a_u + b_type(u, o_u) + e_{u, o_u})

m is the prior (sensitivity of the unit x curve of the type). g corrects the overall scale, a each unit, b each type, e
each option of each unit; all are independent normal with the spreads below, so the posterior is a Gaussian process over
choices with a linear kernel, and a Thompson sample is a prior draw plus the kriging correction (Matheron's rule). The
kernel is built from the features' products row by row: a new trial costs O(trials x units).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from optimizer.search.problem import Observation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SCALE_SPREAD = 0.3
UNIT_SPREAD = 0.5
TYPE_SPREAD = 0.15
OPTION_SPREAD = 0.2
MODEL_ERROR = 0.02
"""Share of a trial's damage that the sum over units cannot explain."""
FAR_ERROR = 0.25
"""The same for trials far from the best: share of the distance in damage (additive models mislead far away)."""


class DamageModel:
    """Prior [units, options] in nats per token (inf or nan where a unit has no such option), type class a option."""

    def __init__(self, prior: Floats, type_classes: Integers, observations: Sequence[Observation] = ()) -> None:
        self._prior = np.where(np.isfinite(prior), prior, 0.0)
        self._missing = ~np.isfinite(prior)
        self._classes = type_classes
        self._n_classes = int(type_classes.max(initial=0)) + 1
        self._rows = np.arange(len(prior))
        self._choices = np.array([o.choice for o in observations], dtype=np.int64).reshape(-1, len(prior))
        self._damage = np.array([o.damage for o in observations], dtype=np.float64)
        self._error = np.array([o.standard_error for o in observations], dtype=np.float64)
        self._terms = self._prior[self._rows, self._choices]  # [trials, units]
        self._by_class = self._class_sums(self._choices, self._terms)
        if len(observations):
            kernel = self._kernel()
            kernel[np.diag_indices_from(kernel)] += self._noise_variance()
            self._factor = cho_factor(kernel, lower=True)

    def mean(self) -> Floats:
        """Posterior mean damage of each option, [units, options]; inf where there is none."""
        return self._posterior(self._prior.copy(), np.zeros(len(self._damage)))

    def sample(self, rng: np.random.Generator) -> Floats:
        """One draw of all options' damages from the posterior, [units, options]."""
        factors = (
            1.0
            + SCALE_SPREAD * rng.standard_normal()
            + UNIT_SPREAD * rng.standard_normal((len(self._prior), 1))
            + TYPE_SPREAD * rng.standard_normal(self._n_classes)[self._classes]
            + OPTION_SPREAD * rng.standard_normal(self._prior.shape)
        )
        noise = rng.standard_normal(len(self._damage)) * np.sqrt(self._noise_variance())
        return self._posterior(self._prior * factors, noise)

    def predict(self, choice: Integers) -> float:
        """Expected damage of a choice."""
        return float(self.mean()[self._rows, choice].sum())

    def _posterior(self, drawn: Floats, noise: Floats) -> Floats:
        if len(self._damage):
            at_trials = drawn[self._rows, self._choices].sum(axis=1)
            weights = cho_solve(self._factor, self._damage - at_trials - noise)
            drawn = drawn + self._correction(weights)
        drawn[self._missing] = np.inf
        return drawn

    def _correction(self, weights: Floats) -> Floats:
        """Covariance of every option with the trials, times `weights` ([trials]): shape [units, options]."""
        scale = SCALE_SPREAD**2 * float(weights @ self._terms.sum(axis=1))
        unit = UNIT_SPREAD**2 * (weights @ self._terms)[:, None]
        type_class = TYPE_SPREAD**2 * (weights @ self._by_class)[self._classes]
        option = np.zeros_like(self._prior)
        np.add.at(option, (self._rows, self._choices), weights[:, None] * self._terms)
        correction: Floats = self._prior * (scale + unit + type_class + OPTION_SPREAD**2 * option)
        return correction

    def _class_sums(self, choices: Integers, terms: Floats) -> Floats:
        sums = np.zeros((len(choices), self._n_classes))
        if len(choices):
            trial = np.repeat(np.arange(len(choices)), choices.shape[1])
            np.add.at(sums, (trial, self._classes[self._rows, choices].ravel()), terms.ravel())
        return sums

    def _kernel(self) -> Floats:
        totals = self._terms.sum(axis=1)
        kernel: Floats = SCALE_SPREAD**2 * np.outer(totals, totals)
        kernel += UNIT_SPREAD**2 * (self._terms @ self._terms.T)
        kernel += TYPE_SPREAD**2 * (self._by_class @ self._by_class.T)
        squares = self._terms**2
        for row in range(len(kernel)):
            same = self._choices == self._choices[row]
            kernel[row] += OPTION_SPREAD**2 * np.where(same, squares[row], 0.0).sum(axis=1)
        return kernel

    def _noise_variance(self) -> Floats:
        if not len(self._damage):
            return np.zeros(0)
        best = self._damage.min()
        distance = self._damage - best
        variance: Floats = self._error**2 + (MODEL_ERROR * self._damage) ** 2 + (FAR_ERROR * distance) ** 2 + 1e-18
        return variance
