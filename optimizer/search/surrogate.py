"""Damage of a recipe as a sum over units, learnt from trials: a prior from probes, corrected by Bayesian regression.

    damage(choice) = sum_u m[u, o_u] * (1 + g + a_u + b_type(u, o_u) + e_{u, o_u})

m is the prior (sensitivity of the unit x curve of the type). g corrects the overall scale, a each unit, b each type, e
each option of each unit; all are independent normal with the spreads below, so the posterior is a Gaussian process over
choices with a linear kernel, and a Thompson sample is a prior draw plus the kriging correction (Matheron's rule).

A trial costs O(trials x units) when it is told. The first look afterwards factors the kernel anew, since the noise of
every trial depends on the best of all: trials^3 / 3 operations, 10 ms for 1,000 trials. So the posterior is a function
of the trials in their order alone, whenever it is looked at.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from optimizer.search.features import TrialFeatures
from optimizer.search.problem import Observation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

PAIRED_SHARE = 0.25
"""Part of a trial's standard error that differs between recipes: most of it is which text all of them were shown."""
MODEL_ERROR = 0.015
"""Share of a trial's damage that the sum over units cannot explain."""
FAR_ERROR = 0.1
"""The same for trials far from the best: share of the distance in damage (additive models mislead far away)."""


class Spreads(NamedTuple):
    """Prior standard deviations of the corrections, as shares of an option's damage."""

    scale: float = 0.3
    unit: float = 0.4
    type_class: float = 0.4
    option: float = 0.15

    def variances(self) -> Floats:
        return np.square(np.array(self))


class Prediction(NamedTuple):
    """Nats per token; the standard deviation is of a measurement: the posterior's and the model's own error."""

    mean: float
    standard_deviation: float


class DamageModel:
    """Prior [units, options] in nats per token (inf or nan where a unit has no such option), type class a option."""

    def __init__(
        self,
        prior: Floats,
        type_classes: Integers,
        observations: Sequence[Observation] = (),
        spreads: Spreads | None = None,
    ) -> None:
        self._missing = ~np.isfinite(prior)
        self._classes = type_classes
        self._spreads = spreads or Spreads()
        self._features = TrialFeatures(np.where(self._missing, 0.0, prior), type_classes)
        self._damage: list[float] = []
        self._error: list[float] = []
        self._factor: tuple[Floats, bool] | None = None
        for observation in observations:
            self.tell(observation)

    def tell(self, observation: Observation) -> None:
        """One more trial, of finite damage."""
        self._features.append(observation.choice)
        self._damage.append(observation.damage)
        self._error.append(observation.standard_error)
        self._factor = None

    @property
    def prior(self) -> Floats:
        """What was expected before any trial, [units, options]; 0 where there is no option."""
        return self._features.prior

    def mean(self) -> Floats:
        """Posterior mean damage of each option, [units, options]; inf where there is none."""
        return self._posterior(self._features.prior, np.zeros(len(self._damage)))

    def sample(self, rng: np.random.Generator) -> Floats:
        """One draw of all options' damages from the posterior, [units, options]."""
        prior, spreads = self._features.prior, self._spreads
        factors = (
            1.0
            + spreads.scale * rng.standard_normal()
            + spreads.unit * rng.standard_normal((len(prior), 1))
            + spreads.type_class * rng.standard_normal(self._features.n_classes)[self._classes]
            + spreads.option * rng.standard_normal(prior.shape)
        )
        noise = rng.standard_normal(len(self._damage)) * np.sqrt(self._noise_variance())
        return self._posterior(prior * factors, noise)

    def log_evidence(self) -> float:
        """Log density of all trials' damages under the prior: how well it foresaw them (up to a constant a trial)."""
        if not self._damage:
            return 0.0
        residual = np.array(self._damage) - self._features.totals(self._features.prior)
        factor, _ = self._factored()
        whitened = solve_triangular(factor, residual, lower=True, check_finite=False)
        return float(-0.5 * (whitened @ whitened) - np.log(np.diag(factor)).sum())

    def predict(self, choice: Integers) -> float:
        """Expected damage of a choice."""
        return float(self.mean()[np.arange(len(choice)), choice].sum())

    def predictive(self, choice: Integers) -> Prediction:
        """Expected measurement of a choice, with its standard deviation."""
        variances = self._spreads.variances()
        mean = float(self._features.prior[np.arange(len(choice)), choice].sum())
        variance = float(variances @ self._features.self_products(choice))
        nearness = 0.0
        if self._damage:
            factor, _ = self._factored()
            row = variances @ self._features.products_with(choice)
            residual = np.array(self._damage) - self._features.totals(self._features.prior)
            mean += float(row @ cho_solve((factor, True), residual, check_finite=False))
            whitened = solve_triangular(factor, row, lower=True, check_finite=False)
            variance = max(0.0, variance - float(whitened @ whitened))
            nearness = max(0.0, mean - min(self._damage))
            variance += float(np.median(self._error) * PAIRED_SHARE) ** 2
        variance += (MODEL_ERROR * mean) ** 2 + (FAR_ERROR * nearness) ** 2
        return Prediction(mean, float(np.sqrt(variance)))

    def _posterior(self, drawn: Floats, noise: Floats) -> Floats:
        drawn = drawn.copy()
        if self._damage:
            residual = np.array(self._damage) - self._features.totals(drawn) - noise
            weights = cho_solve(self._factored(), residual, check_finite=False)
            drawn += self._features.spread_back(weights, self._spreads.variances())
        drawn[self._missing] = np.inf
        return drawn

    def _factored(self) -> tuple[Floats, bool]:
        if self._factor is None:
            kernel = np.tensordot(self._spreads.variances(), self._features.products(), axes=1)
            kernel[np.diag_indices_from(kernel)] += self._noise_variance()
            self._factor = cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
        return self._factor

    def _noise_variance(self) -> Floats:
        damage, error = np.array(self._damage), np.array(self._error)
        if not len(damage):
            return np.zeros(0)
        distance = damage - damage.min()
        variance: Floats = (
            (PAIRED_SHARE * error) ** 2 + (MODEL_ERROR * damage) ** 2 + (FAR_ERROR * distance) ** 2 + 1e-18
        )
        return variance
