"""Damage of a recipe as a sum over units, learnt from trials: a prior from probes, corrected by Bayesian regression.

    damage(choice) = sum_u m[u, o_u] * (1 + g + a_u + b_type(u, o_u) + e_{u, o_u})

m is the prior (sensitivity of the unit x curve of the type). g corrects the overall scale, a each unit, b each type, e
each option of each unit; all are independent normal with the spreads below, so the posterior is a Gaussian process over
choices with a linear kernel, and a Thompson sample is a prior draw plus the kriging correction (Matheron's rule).

A trial adds a row to the kernel and to its Cholesky factor: O(trials x units + trials^2). Since the noise of every
trial depends on the best of all, a new best factors anew (trials^3 / 3). Both happen as trials are told, never when the
model is asked, so the posterior is a function of the trials in their order alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from optimizer.search.features import TrialFeatures
from optimizer.search.problem import Observation
from optimizer.search.triangle import GrowingTriangle

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MODEL_ERROR = 0.015
"""Share of a trial's damage that the sum over units cannot explain."""
FAR_ERROR = 0.1
"""The same for trials far from the best: share of the distance in damage (additive models mislead far away)."""


JITTER = 1e-10
"""Share of a variance that keeps the factor real where trials repeat each other."""


class Spreads(NamedTuple):
    """Prior standard deviations of the corrections, as shares of an option's damage."""

    scale: float = 0.3
    unit: float = 0.4
    type_class: float = 0.4
    option: float = 0.15


class Prediction(NamedTuple):
    """Nats per token; the standard deviation is of a measurement: the posterior's, the model's own and the noise."""

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
        variances = np.square(np.array(self._spreads))
        self._features = TrialFeatures(np.where(self._missing, 0.0, prior), type_classes, variances)
        self._damage = np.zeros(0)
        self._error = np.zeros(0)
        self._full_errors: list[float] = []
        self._kernel = GrowingTriangle()
        self._factor = GrowingTriangle()
        for observation in observations:
            self.tell(observation)

    @property
    def prior(self) -> Floats:
        """What was expected before any trial, [units, options]; 0 where there is no option."""
        return self._features.prior

    def tell(self, observation: Observation) -> Prediction:
        """One more trial, of finite damage. Returns what was predicted for it."""
        row, whitened = self._row(observation.choice)
        prediction = self._predictive(observation.choice, whitened)
        self._features.append(observation.choice)
        is_best = observation.damage < self._damage.min(initial=np.inf)
        self._damage = np.append(self._damage, observation.damage)
        self._error = np.append(self._error, observation.noise)
        self._full_errors += [observation.noise] if observation.share == 1.0 else []
        variance = self._features.variance(observation.choice) * (1 + JITTER)
        noise = self._noise_variance()
        self._kernel.append(row, variance)
        if is_best:
            self._factor = self._kernel.factored(noise)
        else:
            corner = max(variance + noise[-1] - float(whitened @ whitened), noise[-1])
            self._factor.append(whitened, float(np.sqrt(corner)))
        return prediction

    def mean(self) -> Floats:
        """Posterior mean damage of each option, [units, options]; inf where there is none."""
        return self._posterior(self.prior, self._features.prior_totals())

    def sample(self, rng: np.random.Generator) -> Floats:
        """One draw of all options' damages from the posterior, [units, options]."""
        spreads = self._spreads
        factors = (
            1.0
            + spreads.scale * rng.standard_normal()
            + spreads.unit * rng.standard_normal((len(self.prior), 1))
            + spreads.type_class * rng.standard_normal(self._features.n_classes)[self._classes]
            + spreads.option * rng.standard_normal(self.prior.shape)
        )
        drawn = self.prior * factors
        noise = rng.standard_normal(len(self._damage)) * np.sqrt(self._noise_variance())
        return self._posterior(drawn, self._features.totals(drawn) + noise)

    def predict(self, choice: Integers) -> float:
        """Expected damage of a choice."""
        return float(self.mean()[np.arange(len(choice)), choice].sum())

    def predictive(self, choice: Integers) -> Prediction:
        """Expected measurement of a choice on the full text, with its standard deviation."""
        return self._predictive(choice, self._row(choice)[1])

    def log_evidence(self) -> float:
        """Log density of all trials' damages under the prior: how well it foresaw them (up to a constant a trial)."""
        whitened = self._factor.solve(self._damage - self._features.prior_totals())
        return float(-0.5 * (whitened @ whitened) - np.log(self._factor.diagonal()).sum())

    def _row(self, choice: Integers) -> tuple[Floats, Floats]:
        """Covariances of a choice with all trials, and the same whitened by the factor."""
        row = self._features.kernel_row(choice)
        return row, self._factor.solve(row)

    def _predictive(self, choice: Integers, whitened: Floats) -> Prediction:
        mean = float(self.prior[np.arange(len(choice)), choice].sum())
        variance = max(0.0, self._features.variance(choice) - float(whitened @ whitened))
        if len(self._damage):
            mean += float(whitened @ self._factor.solve(self._damage - self._features.prior_totals()))
            variance += (FAR_ERROR * max(0.0, mean - float(self._damage.min()))) ** 2
            variance += float(np.median(self._full_errors or [0.0])) ** 2
        return Prediction(mean, float(np.sqrt(variance + (MODEL_ERROR * mean) ** 2)))

    def _posterior(self, drawn: Floats, at_trials: Floats) -> Floats:
        drawn = drawn.copy()
        if len(self._damage):
            weights = self._factor.solve_both(self._damage - at_trials)
            drawn += self._features.spread_back(weights)
        drawn[self._missing] = np.inf
        return drawn

    def _noise_variance(self) -> Floats:
        damage = self._damage
        distance = damage - damage.min(initial=np.inf)
        variance: Floats = self._error**2 + (MODEL_ERROR * damage) ** 2 + (FAR_ERROR * distance) ** 2 + 1e-18
        return variance
