"""The trials of one budget: the only writer of its study, and the only Optuna client.

SQL is the truth. The loop asks what is known already, so a search that was killed anywhere goes on where it was:
evaluations are found in the store, interrupted trials start again under their own number, and proposals depend on the
seed, the trial's number and the trials before it alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import optuna
from optuna.trial import TrialState

from evaluators.errors import EvaluationError
from optimizer.errors import EngineError, StudyError
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import Baseline
from optimizer.search.budget import Budget
from optimizer.search.context import Limits, SearchContext
from optimizer.search.gate import Gate
from optimizer.search.leader import Leader
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.optuna_view import as_optuna, optuna_view
from optimizer.search.prior import Prior
from optimizer.search.problem import Proposal, SearchProblem
from optimizer.search.prune_sets import PruneSet
from optimizer.search.prune_trials import PruneStage
from optimizer.search.race import race
from optimizer.search.sampler import BASELINE_ATTRIBUTE, SearchSampler, distributions
from optimizer.search.samplers import MAKERS, ONE_SHOT
from optimizer.search.trial_lines import trial_line
from optimizer.store import InterruptedTrial, NewEvent, TrialOutcome, TrialRecord
from optimizer.store.records import COUNTED_STATES

TRIAL_FINISHED = "trial.finished"
MAX_FAILURES = 3
"""Trials that may fail one after another before the search gives up: the fault is then not the recipe's."""


class TrialLoop:
    """The trials of one budget: baselines first, then proposals, each raced against the incumbent."""

    def __init__(
        self,
        context: SearchContext,
        measurer: Measurer,
        budget: Budget,
        prior: Prior | None,
        prefetch: Callable[[Recipe], None],
        notify: Callable[[], None],
        limits: Limits,
        errors: Mapping[tuple[str, str], float] | None = None,
        gate: Gate | None = None,
        prune_sets: Sequence[PruneSet] = (),
    ) -> None:
        """`prefetch` starts on a recipe's shards; `notify` tells the mirrors that the store has something new.

        `errors`: see SearchProblem. `prune_sets`: layers to try without, once the other proposals are made.
        """
        self._limits = limits
        self._counted = 0
        self._proposed = 0
        self._context = context
        self._prefetch = prefetch
        self._notify = notify
        self._measurer = measurer
        self._budget = budget
        self._space = context.plan.space
        self._failures = 0
        config = context.plan.config
        self._leader = Leader(gate, context.plan.rivals_only, all_answer=config.objective != "kld")
        problem = SearchProblem(self._space, budget.n_bytes, context.plan.parameters, config.seed, prior, errors)
        proposer = MAKERS[config.sampler](problem)
        self._sampler = SearchSampler(self._space, proposer, seed=config.seed)
        self._prune = PruneStage(prune_sets, problem, proposer, context.plan.sizes)
        self._study = optuna.create_study(sampler=self._sampler)

    def run(self, interrupted: Sequence[InterruptedTrial]) -> None:
        """Until `trials` complete and pruned ones are there, or time is out. `interrupted` ones run again."""
        context = self._context
        target = context.plan.config.trials
        context.reporter.phase(f"search at {self._budget.text}", target)
        tried = self._replay(exclude={each.trial.number for each in interrupted})
        for each in interrupted:
            context.check_stop()
            ended = self._run_trial(each.trial, Recipe(each.recipe.tensor_types))
            if self._prune.takes(each.trial):
                continue
            self._study.add_trial(as_optuna(self._space, ended))
            self._proposed += each.trial.name is None
            tried.add(each.trial.name)
        waiting = [each for each in context.plan.baselines[self._budget] if each.name not in tried]
        for index, baseline in enumerate(waiting):
            if self._counted >= target:
                return
            if index + 1 < len(waiting):
                self._prefetch(waiting[index + 1].recipe)
            self._run_baseline(baseline)
            context.reporter.trials(self._counted, self._leader.standing())
        while self._counted < target - self._prune.n_left and not self._is_spent and not self._has_its_answer:
            self._run_proposal()
            context.reporter.trials(self._counted, self._leader.standing())
        self._run_pruned(target)

    @property
    def _has_its_answer(self) -> bool:
        """A one-shot sampler has proposed its one recipe."""
        return self._context.plan.config.sampler in ONE_SHOT and self._proposed > 0

    @property
    def _is_spent(self) -> bool:
        deadline, tokens = self._limits.deadline, self._limits.tokens
        if deadline is not None and time.monotonic() >= deadline:
            return True
        return tokens is not None and self._context.store.study(self._context.study.id).tokens_evaluated >= tokens

    def _replay(self, exclude: set[int]) -> set[str | None]:
        """Show Optuna and the race every finished trial of this budget; returns the names of baselines among them."""
        names: set[str | None] = set()
        for trial in self._context.store.trials(self._context.study.id):
            if trial.budget_bytes != self._budget.n_bytes or trial.number in exclude:
                continue
            self._leader.note(trial)
            self._counted += trial.state in COUNTED_STATES
            if not self._prune.takes(trial):
                self._study.add_trial(as_optuna(self._space, trial))
                self._proposed += trial.name is None
            if trial.state == "complete":
                self._leader.crown(trial, self._measure_again(trial))
            names.add(trial.name)
        return names

    def _measure_again(self, trial: TrialRecord) -> Measurement:
        record = self._context.store.recipe(trial.recipe_id)
        return self._measurer.measure(Recipe(record.tensor_types), self._measurer.text.n_chunks)

    def _run_baseline(self, baseline: Baseline) -> None:
        self._context.check_stop()
        choice = self._space.choice_of_recipe(baseline.recipe)
        params = self._space.params(choice)
        self._study.enqueue_trial(params, user_attrs={BASELINE_ATTRIBUTE: baseline.name})
        asked = self._study.ask(distributions(self._space))
        trial = self._start(baseline.recipe, params, baseline.origin, baseline.n_bytes, name=baseline.name)
        self._tell(asked, self._run_trial(trial, baseline.recipe))

    def _run_proposal(self) -> None:
        self._context.check_stop()
        asked = self._study.ask(distributions(self._space))
        choice = self._space.choice_of_params(asked.params)
        recipe = self._space.recipe(choice)
        proposal = self._sampler.proposals.pop(asked.number)
        self._proposed += 1
        trial = self._start(
            recipe,
            asked.params,
            proposal.origin,
            self._space.file_bytes(choice),
            proposal=proposal,
        )
        self._tell(asked, self._run_trial(trial, recipe, proposal.share))

    def _run_pruned(self, target: int) -> None:
        if self._counted >= target or not self._prune.n_left:
            return
        self._sampler.catch_up(self._study)
        for each in self._prune.proposals():
            self._context.check_stop()
            start = (each.recipe, each.params, each.origin, each.n_bytes)
            self._run_trial(self._start(*start, predicted_kld=each.predicted_kld), each.recipe)
            self._context.reporter.trials(self._counted, self._leader.standing())
            if self._counted >= target:
                return

    def _start(
        self,
        recipe: Recipe,
        params: Mapping[str, str],
        origin: str,
        n_bytes: int,
        *,
        name: str | None = None,
        proposal: Proposal | None = None,
        predicted_kld: float | None = None,
    ) -> TrialRecord:
        if n_bytes > self._budget.n_bytes:
            raise StudyError(
                f"a proposal of {n_bytes:,} bytes exceeds the budget of {self._budget.n_bytes:,}; please report this"
            )
        return self._context.store.start_trial(
            self._context.lease,
            origin=origin,
            recipe_id=self._measurer.record(recipe).id,
            size_bytes=n_bytes,
            params=params,
            budget_bytes=self._budget.n_bytes,
            name=name,
            layer_types=self._context.plan.layer_types_line(recipe),
            predicted_kld=proposal.predicted_damage if proposal else predicted_kld,
            predicted_kld_standard_error=proposal.predicted_standard_error if proposal else None,
        )

    def _run_trial(self, trial: TrialRecord, recipe: Recipe, share: float = 1.0) -> TrialRecord:
        try:
            outcome, measurement = race(
                recipe,
                trial.name or trial.origin,
                self._measurer,
                self._leader.incumbent,
                self._context.plan.config.evaluation.first_rung,
                share,
            )
            outcome = self._leader.ask(trial, recipe, outcome, measurement)
        except EvaluationError as error:
            outcome, measurement = TrialOutcome("failed", error=str(error)), None
        events = [NewEvent(TRIAL_FINISHED, trial_id=trial.id)]
        ended = self._context.store.finish_trial(self._context.lease, trial.id, outcome, events=events)
        self._notify()
        self._leader.note(ended)
        crowned = measurement is not None and outcome.state == "complete" and self._leader.crown(ended, measurement)
        self._counted += ended.state in COUNTED_STATES
        self._failures = self._failures + 1 if ended.state == "failed" else 0
        if self._failures >= MAX_FAILURES:
            raise EngineError(f"{MAX_FAILURES} trials failed one after another, the last with: {ended.error}")
        self._context.reporter.line(trial_line(ended, crowned=crowned))
        return ended

    def _tell(self, asked: optuna.Trial, ended: TrialRecord) -> None:
        """Give Optuna the trial's end, as it would be replayed from the store."""
        state, value, attributes = optuna_view(ended)
        for key, attribute in attributes.items():
            asked.set_user_attr(key, attribute)
        if state is TrialState.PRUNED and value is not None:
            asked.report(value, step=ended.chunks_scored)
        self._study.tell(asked, value if state is TrialState.COMPLETE else None, state=state)
