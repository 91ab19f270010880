"""An Optuna sampler over the search space: one categorical parameter a unit, every proposal decoded to the budget.

Unbound, or asked for parameters that are not the space's units, it samples them at random, as any sampler must.
"""

from math import inf
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from optimizer.search.problem import Integers, KnowsPending, Observation, Proposal, Proposer
from optimizer.search.space import SearchSpace

STANDARD_ERROR_ATTRIBUTE = "standard_error"
SHARE_ATTRIBUTE = "share_of_text"
PAIRED_ERROR_ATTRIBUTE = "paired_error"
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
BASELINE_ATTRIBUTE = "baseline"


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Unit name -> the names of its options, allowed or not (a baseline may use any)."""
    return {unit.name: CategoricalDistribution([option.name for option in unit.options]) for unit in space.units}


class SearchSampler(BaseSampler):
    """Asks a proposer for whole recipes, and tells it of every finished trial of the study in the order of numbers."""

    def __init__(
        self, space: SearchSpace | None = None, proposer: Proposer | None = None, *, seed: int | None = None
    ) -> None:
        self._space = space
        self._proposer = proposer
        self._distributions = {} if space is None else distributions(space)
        self._told: set[int] = set()
        self._independent = RandomSampler(seed=seed)
        self.proposals: dict[int, Proposal] = {}
        """What was proposed in this process, by Optuna's trial number."""

    def reseed_rng(self) -> None:
        self._independent.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        space, proposer = self._space, self._proposer
        if space is None or proposer is None or set(search_space) != {unit.name for unit in space.units}:
            return {
                name: self.sample_independent(study, trial, name, distribution)
                for name, distribution in search_space.items()
            }
        self._tell_news(study, space, proposer)
        proposal = proposer.ask(trial.number)
        self.proposals[trial.number] = proposal
        return dict(space.params(proposal.choice))

    def pend(self, choice: Integers) -> None:
        """A proposal that an earlier run made has not ended yet; without meaning to proposers that need not know."""
        if isinstance(self._proposer, KnowsPending):
            self._proposer.pend(choice)

    def catch_up(self, study: Study) -> None:
        """Tell the proposer what it has not heard of, without asking it for anything."""
        if self._space is not None and self._proposer is not None:
            self._tell_news(study, self._space, self._proposer)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def _tell_news(self, study: Study, space: SearchSpace, proposer: Proposer) -> None:
        names = {unit.name for unit in space.units}
        for trial in study.get_trials(deepcopy=False, states=FINISHED):
            if trial.number in self._told or not names <= set(trial.params):
                continue
            self._told.add(trial.number)
            proposer.tell(_observation(trial, space), own=not is_baseline(trial))


def _observation(trial: FrozenTrial, space: SearchSpace) -> Observation:
    """A complete trial's value; a pruned one's estimate of the full text; nothing known of a failed one."""
    value = trial.value if trial.state is not TrialState.FAIL else None
    return Observation(
        choice=space.choice_of_params(trial.params),
        damage=inf if value is None else float(value),
        standard_error=float(trial.user_attrs.get(STANDARD_ERROR_ATTRIBUTE, 0.0)),
        share=float(trial.user_attrs.get(SHARE_ATTRIBUTE, 1.0)),
        paired_error=float(trial.user_attrs.get(PAIRED_ERROR_ATTRIBUTE, 0.0)),
    )


def is_baseline(trial: FrozenTrial) -> bool:
    return BASELINE_ATTRIBUTE in trial.user_attrs or "fixed_params" in trial.system_attrs
