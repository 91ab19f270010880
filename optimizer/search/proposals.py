"""Where the next recipe comes from: the surrogate's best guess, a draw near it, or exchanges around the incumbent.

The surrogate's proposals end in the knapsack, and exchanges never grow a choice beyond the budget, so every proposal
fits to the byte. While the surrogate's forecasts are shown wrong, three of four proposals are exchanges, which need
none; the fourth is its best guess, so that it is believed again once that holds. A recipe that was tried is proposed
again only where no other was found in many attempts.
"""

import numpy as np
import numpy.typing as npt

from optimizer.search.beliefs import beliefs, likeliest
from optimizer.search.decoding import decode, decode_exactly, random_damage
from optimizer.search.exchanges import exchange
from optimizer.search.honesty import Forecast, is_wrong, paired_noise
from optimizer.search.problem import Observation, Proposal, SearchProblem
from optimizer.search.surrogate import MODEL_ERROR, DamageModel, Prediction
from optimizer.search.tied import TiedSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EXPLOIT = "mean"
THOMPSON = "thompson"
EXCHANGE = "exchange"
RANDOM = "random"
TIED = "groups"
"""In a search by tensors: the best guess where all tensors of a group have one type."""
CYCLE = (EXPLOIT, THOMPSON)
TIED_CYCLE = (TIED, EXPLOIT, THOMPSON, THOMPSON)
EXACT_UNITS = 256
"""Up to so many units the surrogate's best guess is proven to be its best; above, the refill is as good within 0.1
%."""
TEMPERATURE = 0.6
"""Share of a posterior draw's deviation from the mean that a proposal takes: whole draws lead too far from the best."""
CYCLE_WHEN_WRONG = (EXCHANGE, EXCHANGE, EXCHANGE, EXPLOIT)
LEAST_DAMAGE = 0.02
"""Share of the prior damage below which no option's damage is believed to fall."""
EXCHANGED_SHARE = 0.1
"""Pairs of units that an exchange proposal may change, at most, as a share of the units; 3 pairs always."""
SELECT_AT = frozenset({3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128})
"""Numbers of trials at which the prior is chosen anew."""
DRAWS = 4
ATTEMPTS = 24


class LayerquantProposer:
    """The search's own way. A function of the problem, the seed and the trials told, in their order."""

    def __init__(self, problem: SearchProblem) -> None:
        if problem.prior is None:
            raise ValueError("this sampler needs the prior that probes give")
        self._problem, self._prior = problem, problem.prior
        self._beliefs = beliefs(problem.space, problem.prior, problem.parameters)
        self._model = likeliest(self._beliefs[:1], self._prior, ())
        self._seen: list[Observation] = []
        self._tried: set[bytes] = set()
        self._forecasts: list[Forecast] = []
        self._incumbent: Observation | None = None
        self._turn = 0
        self._pending = 0
        self._tied = TiedSpace.of(problem.space)

    @property
    def model(self) -> DamageModel:
        """The surrogate as it is now."""
        return self._model

    @property
    def expected_damage(self) -> Floats:
        """[units, options] in nats per token: the surrogate's mean, no option below a share of its prior."""
        return np.maximum(self._model.mean(), self._least)

    @property
    def is_believed(self) -> bool:
        """Whether the surrogate leads the search; else exchanges do."""
        return not is_wrong(self._forecasts)

    def tell(self, observation: Observation, *, own: bool) -> None:
        led = self._kind(0) != EXCHANGE
        self._pending = max(0, self._pending - own)
        self._turn += own
        self._tried.add(observation.choice.tobytes())
        if not np.isfinite(observation.damage):
            return
        self._seen.append(observation)
        prediction = self._model.tell(observation)
        if own and led and self._incumbent is not None:
            self._forecasts.append(_forecast(prediction, observation, self._incumbent))
        if len(self._seen) in SELECT_AT:
            self._model = likeliest(self._beliefs, self._prior, self._seen)
        if self._is_eligible(observation) and _is_better(observation, self._incumbent):
            self._incumbent = observation

    def ask(self, number: int) -> Proposal:
        rng = np.random.default_rng((self._problem.seed, number))
        choice, origin = self._propose(rng)
        self.pend(choice)
        prediction = self._model.predictive(choice)
        return Proposal(choice, origin, prediction.mean, predicted_standard_error=prediction.standard_deviation)

    def pend(self, choice: Integers) -> None:
        """Proposed and not told yet: not proposed again, and the next proposal has its turn after it."""
        self._tried.add(choice.tobytes())
        self._pending += 1

    def _propose(self, rng: np.random.Generator) -> tuple[Integers, str]:
        problem, kind = self._problem, self._kind(self._pending)
        if kind != EXCHANGE:
            mean = self._model.mean()
            temperature = 0.0 if kind in (EXPLOIT, TIED) else TEMPERATURE
            for _ in range(DRAWS):
                drawn = mean if temperature == 0.0 else self._drawn(mean, temperature, rng)
                choice = self._decoded(np.maximum(drawn, self._least), kind)
                if choice.tobytes() not in self._tried:
                    return choice, kind
                kind, temperature = THOMPSON, max(1.5 * temperature, TEMPERATURE / 2)
        if self._incumbent is not None:
            most = max(3, round(EXCHANGED_SHARE * len(problem.space.units)))
            for _ in range(ATTEMPTS):
                n_pairs = int(rng.integers(1, most + 1))
                choice = exchange(problem.space, self._incumbent.choice, problem.budget_bytes, n_pairs, rng)
                if choice.tobytes() not in self._tried:
                    return choice, EXCHANGE
        for _ in range(ATTEMPTS):
            choice = decode(problem.space, random_damage(problem.space, rng), problem.budget_bytes)
            if choice.tobytes() not in self._tried:
                break
        return choice, RANDOM

    def _kind(self, pending: int) -> str:
        turn = self._turn + pending
        if self.is_believed or self._incumbent is None:
            cycle = CYCLE if self._tied is None else TIED_CYCLE
            return cycle[turn % len(cycle)]
        return CYCLE_WHEN_WRONG[turn % len(CYCLE_WHEN_WRONG)]

    def _decoded(self, damage: Floats, kind: str) -> Integers:
        space, budget_bytes = self._problem.space, self._problem.budget_bytes
        if kind == TIED and self._tied is not None:
            tied = self._tied.decode(damage, budget_bytes)
            if tied is not None:
                return tied
        if kind != THOMPSON and len(space.units) <= EXACT_UNITS:
            return decode_exactly(space, damage, budget_bytes).choice
        return decode(space, damage, budget_bytes)

    def _drawn(self, mean: Floats, temperature: float, rng: np.random.Generator) -> Floats:
        with np.errstate(invalid="ignore"):
            deviation = self._model.sample(rng) - mean
        drawn: Floats = mean + temperature * np.where(np.isfinite(mean), deviation, 0.0)
        return drawn

    @property
    def _least(self) -> Floats:
        return LEAST_DAMAGE * self._model.prior

    def _is_eligible(self, observation: Observation) -> bool:
        space, choice = self._problem.space, observation.choice
        return space.is_own(choice) and space.file_bytes(choice) <= self._problem.budget_bytes


def _forecast(prediction: Prediction, observation: Observation, incumbent: Observation) -> Forecast:
    noise = paired_noise(MODEL_ERROR, observation.noise, incumbent.damage)
    return Forecast(*prediction, observation.damage, incumbent.damage, noise)


def _is_better(observation: Observation, incumbent: Observation | None) -> bool:
    """Less damage; what saw the full text goes before estimates of it."""
    if incumbent is None:
        return True
    return (observation.share < 1.0, observation.damage) < (incumbent.share < 1.0, incumbent.damage)
