"""Optuna's side of one budget's search: who is asked for recipes, and told how they did."""

from collections.abc import Mapping
from dataclasses import dataclass

import optuna
from optuna.trial import TrialState

from optimizer.recipes.recipe import Recipe
from optimizer.search.optuna_view import as_optuna, optuna_view
from optimizer.search.problem import Proposal, Proposer
from optimizer.search.sampler import BASELINE_ATTRIBUTE, SearchSampler, distributions
from optimizer.search.space import SearchSpace
from optimizer.store import TrialRecord


@dataclass(frozen=True)
class Asked:
    """A recipe to try. proposal: None for a baseline."""

    asked: optuna.Trial
    recipe: Recipe
    params: Mapping[str, str]
    n_bytes: int
    proposal: Proposal | None = None


class Asking:
    def __init__(self, space: SearchSpace, proposer: Proposer, seed: int) -> None:
        self._space, self._distributions = space, distributions(space)
        self._sampler = SearchSampler(space, proposer, seed=seed)
        self._study = optuna.create_study(sampler=self._sampler)

    def baseline(self, name: str, recipe: Recipe, n_bytes: int) -> Asked:
        params = self._space.params(self._space.choice_of_recipe(recipe))
        self._study.enqueue_trial(params, user_attrs={BASELINE_ATTRIBUTE: name})
        return Asked(self._study.ask(self._distributions), recipe, params, n_bytes)

    def proposal(self) -> Asked:
        asked = self._study.ask(self._distributions)
        params = asked.params
        choice = self._space.choice_of_params(params)
        proposal = self._sampler.proposals.pop(asked.number)
        return Asked(asked, self._space.recipe(choice), params, self._space.file_bytes(choice), proposal)

    def tell(self, asked: optuna.Trial, ended: TrialRecord) -> None:
        """A trial's end, as it would be replayed from the store."""
        state, value, attributes = optuna_view(ended)
        for key, attribute in attributes.items():
            asked.set_user_attr(key, attribute)
        if state is TrialState.PRUNED and value is not None:
            asked.report(value, step=ended.chunks_scored)
        self._study.tell(asked, value if state is TrialState.COMPLETE else None, state=state)

    def add(self, ended: TrialRecord) -> None:
        """A trial that another run began."""
        self._study.add_trial(as_optuna(self._space, ended))

    def add_pending(self, trial: TrialRecord) -> optuna.Trial:
        """A proposal of another run, in its place among the numbers, to be told later."""
        params = dict(trial.params)
        self._study.add_trial(
            optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self._distributions)
        )
        self._sampler.pend(self._space.choice_of_params(params))
        return optuna.Trial(self._study, self._study.get_trials(deepcopy=False)[-1]._trial_id)

    def catch_up(self) -> None:
        """Let the proposer hear of every trial so far."""
        self._sampler.catch_up(self._study)
