"""An Optuna sampler over the search space: one categorical parameter a unit, every proposal decoded to the budget.

Unbound, or asked for parameters that are not the space's units, it samples them at random, as any sampler must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optimizer.search.decoding import decode, random_damage
from optimizer.search.proposals import RANDOM, Proposal, propose
from optimizer.search.space import SearchSpace
from optimizer.search.surrogate import Observation

STANDARD_ERROR_ATTRIBUTE = "standard_error"
BASELINE_ATTRIBUTE = "baseline"


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Unit name -> the names of its options, allowed or not (a baseline may use any)."""
    return {unit.name: CategoricalDistribution([option.name for option in unit.options]) for unit in space.units}


def observations(study: Study, space: SearchSpace) -> list[Observation]:
    """What the study's finished trials say: complete ones, and pruned ones by the value they had reached."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    names = {unit.name for unit in space.units}
    return [
        Observation(
            choice=space.choice_of_params(trial.params),
            damage=float(trial.value),
            standard_error=float(trial.user_attrs.get(STANDARD_ERROR_ATTRIBUTE, 0.0)),
        )
        for trial in finished
        if trial.value is not None and names <= set(trial.params)
    ]


class SearchSampler(BaseSampler):
    """Proposes whole recipes.

    prior: expected damage of each option, [units, options] in nats per token, from the probes. type_classes: the same
    shape, which options share a correction. With `kind="random"` the prior and all trials are ignored.
    """

    def __init__(
        self,
        space: SearchSpace | None = None,
        *,
        budget_bytes: int = 0,
        prior: npt.NDArray[np.float64] | None = None,
        type_classes: npt.NDArray[np.int64] | None = None,
        kind: str = "layerquant",
        seed: int | None = None,
    ) -> None:
        self._space = space
        self._budget_bytes = budget_bytes
        self._prior = prior
        self._type_classes = type_classes
        self._kind = kind
        self._seed = seed
        self._independent = RandomSampler(seed=seed)
        self.proposals: dict[int, Proposal] = {}
        """What was proposed in this process, by Optuna's trial number."""

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {} if self._space is None else distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        space = self._space
        if space is None or set(search_space) != {unit.name for unit in space.units}:
            return {
                name: self.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        proposal = self._propose(study, space, trial.number)
        self.proposals[trial.number] = proposal
        return dict(space.params(proposal.choice))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, study: Study, space: SearchSpace, number: int) -> Proposal:
        rng = np.random.default_rng(None if self._seed is None else (self._seed, number))
        if self._kind == "random" or self._prior is None or self._type_classes is None:
            return Proposal(decode(space, random_damage(space, rng), self._budget_bytes), RANDOM, None)
        seen = observations(study, space)
        turn = sum(1 for trial in study.get_trials(deepcopy=False) if trial.number < number and not is_baseline(trial))
        failed = [space.choice_of_params(t.params) for t in study.get_trials(deepcopy=False, states=(TrialState.FAIL,))]
        return propose(space, self._prior, self._type_classes, seen, self._budget_bytes, turn, rng, failed)


def is_baseline(trial: FrozenTrial) -> bool:
    return BASELINE_ATTRIBUTE in trial.user_attrs or "fixed_params" in trial.system_attrs


def frozen_trial(
    space: SearchSpace,
    params: Mapping[str, str],
    *,
    state: TrialState,
    value: float | None,
    attributes: Mapping[str, Any],
) -> FrozenTrial:
    """A finished trial of ours in Optuna's form."""
    return optuna.create_trial(
        state=state,
        params=dict(params),
        distributions=distributions(space),
        value=value,
        user_attrs=dict(attributes),
    )
