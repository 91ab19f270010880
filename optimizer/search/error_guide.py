"""Proposals from what trials did to the logits: down the landscape of `superposition` from recipes known to be good."""

import numpy as np

from optimizer.search.problem import Integers, Observation, SearchProblem
from optimizer.search.superposition import Superposition
from optimizer.search.surrogate import Prediction

LEAST_TRIALS = 12
"""Of the search's own, on the whole text, before vectors lead: each shows the sum of its options' vectors alone."""
MOST_TRIALS = 512
"""More are not learnt from: a proposal takes time in proportion to them."""
MOST_OPTIONS = 4096
"""In larger spaces vectors are not used: a step of a descent looks at every option of every unit."""
DOUBT = 0.6
"""Spread, in ln, of what a draw takes the unknown part of an option's damage for."""
UNKNOWN_ERROR = 0.3
"""Standard deviation of the part of a forecast that no trial has shown, as a share of it."""
FORECAST_ERROR = 0.04
"""The same of what trials have shown."""
GOOD = 10
"""A descent starts from the incumbent, from one of so many best, and from where the sum of damages leads."""


class ErrorGuide:
    """Told every trial, it asks the problem for its vectors; a function of both."""

    def __init__(self, problem: SearchProblem) -> None:
        self._problem = problem
        self._sums: Superposition | None = None
        prior = problem.prior
        if prior is not None and prior.damage.size <= MOST_OPTIONS and problem.error_vectors is not None:
            self._sums = Superposition(prior.damage, problem.rungs)
        self._best: list[tuple[float, Integers]] = []
        self._told, self._own = 0, 0

    @property
    def leads(self) -> bool:
        return self._own >= LEAST_TRIALS

    def tell(self, observation: Observation, *, own: bool) -> None:
        """A trial of finite damage; own: no baseline."""
        if self._sums is None or self._problem.error_vectors is None or self._told == MOST_TRIALS:
            return
        errors = self._problem.error_vectors(observation.choice, observation.share)
        if errors is None:
            return
        self._sums.tell(observation.choice, errors)
        self._told += 1
        self._own += own and observation.share == 1.0

    def note(self, observation: Observation) -> None:
        """A trial on the whole text that may win: descents may start from it."""
        self._best = sorted([*self._best, (observation.damage, observation.choice)], key=lambda each: each[0])[:GOOD]

    def predictive(self, choice: Integers, noise: float) -> Prediction | None:
        """Expected damage of a choice; noise: standard deviation of a measurement. None while vectors do not lead."""
        if self._sums is None or not self.leads:
            return None
        mean, unknown = self._sums.predict(choice)
        known = FORECAST_ERROR * mean
        return Prediction(mean, float(np.sqrt((UNKNOWN_ERROR * unknown) ** 2 + known**2 + noise**2)))

    def propose(
        self, starts: list[Integers], tried: set[bytes], rng: np.random.Generator, doubt: float
    ) -> Integers | None:
        """The best that descents find and nobody has tried; doubt: spread in ln, 0 for the best guess."""
        if self._sums is None:
            return None
        problem, doubts = self._problem, None
        if doubt:
            doubts = np.exp(doubt * rng.standard_normal(problem.space.shape))
        landscape = self._sums.landscape(doubts)
        if self._best:
            starts = [*starts, self._best[0][1], self._best[int(rng.integers(len(self._best)))][1]]
        ends = [landscape.descend(problem.space, start, problem.budget_bytes) for start in starts]
        new = [end for end in ends if end.tobytes() not in tried]
        return min(new, key=landscape.damage, default=None)
