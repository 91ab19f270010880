"""One search from plan to report: the only writer of its study, and the only Optuna client.

SQL is the truth. Every phase asks what is known already, so a search that was killed anywhere goes on where it was:
evaluations are found in the store, interrupted trials start again under their own number, and proposals depend on the
seed, the trial's number and the trials before it alone.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import optuna
from optuna.trial import TrialState

from evaluators.errors import EvaluationError
from optimizer.errors import EngineError, StudyError
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET, Baseline
from optimizer.search.budget import Budget
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.planning import Plan
from optimizer.search.prior import Prior
from optimizer.search.problem import SearchProblem
from optimizer.search.racing import compare, full_text_estimate, rungs
from optimizer.search.sampler import (
    BASELINE_ATTRIBUTE,
    SHARE_ATTRIBUTE,
    STANDARD_ERROR_ATTRIBUTE,
    SearchSampler,
    distributions,
    frozen_trial,
)
from optimizer.search.samplers import MAKERS, ONE_SHOT
from optimizer.search.stored_progress import StoredProgress
from optimizer.search.trial_lines import trial_line
from optimizer.store import InterruptedTrial, Lease, NewEvent, Store, StudyRecord, TrialOutcome, TrialRecord
from optimizer.store.records import COUNTED_STATES

TRIAL_FINISHED = "trial.finished"
MAX_FAILURES = 3
"""Trials that may fail one after another before the search gives up: the fault is then not the recipe's."""


class StopRequested(Exception):
    """Somebody asked the search to stop; everything measured so far is kept."""


@dataclass(frozen=True)
class SearchContext:
    """What all phases share. `check_stop` is called between evaluations."""

    store: Store
    study: StudyRecord
    lease: Lease
    plan: Plan
    reporter: StoredProgress
    interrupted: list[bool] = field(default_factory=lambda: [False])

    def check_stop(self) -> None:
        if self.interrupted[0] or self.store.stop_requested(self.study.id):
            raise StopRequested


@dataclass(frozen=True)
class Limits:
    """When proposing ends: at a time.monotonic(), or at so many evaluated tokens of the study; None: never."""

    deadline: float | None = None
    tokens: int | None = None


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
    ) -> None:
        """`prefetch` starts on a recipe's shards; `notify` tells the mirrors that the store has something new.

        `errors`: see SearchProblem.
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
        self._incumbent: Measurement | None = None
        self._best_preset: float | None = None
        self._best_preset_name: str | None = None
        self._failures = 0
        config = context.plan.config
        problem = SearchProblem(self._space, budget.n_bytes, context.plan.parameters, config.seed, prior, errors)
        self._sampler = SearchSampler(self._space, MAKERS[config.sampler](problem), seed=config.seed)
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
            self._study.add_trial(self._as_optuna(ended))
            self._proposed += each.trial.name is None
            tried.add(each.trial.name)
        waiting = [each for each in context.plan.baselines[self._budget] if each.name not in tried]
        for index, baseline in enumerate(waiting):
            if self._counted >= target:
                return
            if index + 1 < len(waiting):
                self._prefetch(waiting[index + 1].recipe)
            self._run_baseline(baseline)
            context.reporter.trials(self._counted, self._standing())
        while self._counted < target and not self._is_spent and not self._has_its_answer:
            self._run_proposal()
            context.reporter.trials(self._counted, self._standing())

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
            self._study.add_trial(self._as_optuna(trial))
            self._note_preset(trial)
            self._counted += trial.state in COUNTED_STATES
            self._proposed += trial.name is None
            if trial.state == "complete":
                self._crown(trial, self._measure_again(trial))
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
            predicted=proposal.predicted_damage,
        )
        self._tell(asked, self._run_trial(trial, recipe, proposal.share))

    def _start(
        self,
        recipe: Recipe,
        params: Mapping[str, str],
        origin: str,
        n_bytes: int,
        *,
        name: str | None = None,
        predicted: float | None = None,
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
            predicted_kld=predicted,
        )

    def _run_trial(self, trial: TrialRecord, recipe: Recipe, share: float = 1.0) -> TrialRecord:
        try:
            outcome, measurement = self._race(trial, recipe, share)
        except EvaluationError as error:
            outcome, measurement = TrialOutcome("failed", error=str(error)), None
        events = [NewEvent(TRIAL_FINISHED, trial_id=trial.id)]
        ended = self._context.store.finish_trial(self._context.lease, trial.id, outcome, events=events)
        self._notify()
        self._note_preset(ended)
        crowned = measurement is not None and outcome.state == "complete" and self._crown(ended, measurement)
        self._counted += ended.state in COUNTED_STATES
        self._failures = self._failures + 1 if ended.state == "failed" else 0
        if self._failures >= MAX_FAILURES:
            raise EngineError(f"{MAX_FAILURES} trials failed one after another, the last with: {ended.error}")
        self._context.reporter.line(trial_line(ended, crowned=crowned))
        return ended

    def _race(self, trial: TrialRecord, recipe: Recipe, share: float) -> tuple[TrialOutcome, Measurement]:
        """Score rung after rung; out as soon as the paired test says so, or once `share` of the chunks was seen."""
        label = trial.name or trial.origin
        everything, batch = self._measurer.text.n_chunks, self._measurer.batch
        last = min(everything, ceil(share * everything / batch) * batch)
        spent = 0
        for n_chunks in rungs(last, self._context.plan.config.evaluation.first_rung * everything / last, batch):
            measurement = self._measurer.measure(recipe, n_chunks, label)
            spent += measurement.new_tokens
            if n_chunks == everything:
                break
            others = self._incumbent.by_chunk if self._incumbent else measurement.by_chunk
            if n_chunks == last or compare(measurement.by_chunk, others).is_behind:
                metrics = {
                    "full_text_estimate": full_text_estimate(measurement.by_chunk, others),
                    SHARE_ATTRIBUTE: n_chunks / everything,
                }
                return self._outcome("pruned", measurement, spent, metrics), measurement
        return self._outcome("complete", measurement, spent, None), measurement

    def _outcome(
        self, state: str, measurement: Measurement, spent: int, metrics: Mapping[str, float] | None
    ) -> TrialOutcome:
        score = measurement.score
        return TrialOutcome(
            "pruned" if state == "pruned" else "complete",
            mean_kld=score.mean_kld,
            mean_kld_standard_error=score.mean_kld_standard_error,
            perplexity=score.perplexity,
            chunks_scored=len(score.chunks),
            tokens_spent=spent,
            metrics=metrics,
        )

    def _standing(self) -> str:
        """Best so far against the best preset that fits, on search text."""
        if self._incumbent is None:
            return ""
        best = self._incumbent.score.mean_kld
        if self._best_preset is None:
            return f"best {best:.6f}"
        return f"best {best:.6f} = {best / self._best_preset:.3f} x {self._best_preset_name}"

    def _note_preset(self, trial: TrialRecord) -> None:
        kld = trial.mean_kld
        if trial.state != "complete" or kld is None or not trial.origin.startswith(f"{PRESET}:"):
            return
        if self._best_preset is None or kld < self._best_preset:
            self._best_preset, self._best_preset_name = kld, trial.name

    def _crown(self, trial: TrialRecord, measurement: Measurement) -> bool:
        """Make a complete trial the incumbent when its full-text KLD is the lowest so far.

        A baseline of types that the search may not use is a rival, never the incumbent.
        """
        if trial.name in self._context.plan.rivals_only:
            return False
        if self._incumbent is not None and measurement.score.mean_kld >= self._incumbent.score.mean_kld:
            return False
        self._incumbent = measurement
        return True

    def _tell(self, asked: optuna.Trial, ended: TrialRecord) -> None:
        """Give Optuna the trial's end, as it would be replayed from the store."""
        state, value, attributes = _optuna_view(ended)
        for key, attribute in attributes.items():
            asked.set_user_attr(key, attribute)
        if state is TrialState.PRUNED and value is not None:
            asked.report(value, step=ended.chunks_scored)
        self._study.tell(asked, value if state is TrialState.COMPLETE else None, state=state)

    def _as_optuna(self, trial: TrialRecord) -> optuna.trial.FrozenTrial:
        state, value, attributes = _optuna_view(trial)
        return frozen_trial(self._space, trial.params, state=state, value=value, attributes=attributes)


def _optuna_view(trial: TrialRecord) -> tuple[TrialState, float | None, dict[str, object]]:
    """State, value and attributes of our trial in Optuna's words; a pruned one has its full-text estimate as value."""
    attributes: dict[str, object] = {STANDARD_ERROR_ATTRIBUTE: trial.mean_kld_standard_error or 0.0}
    if trial.name is not None:
        attributes[BASELINE_ATTRIBUTE] = trial.name
    if trial.state == "complete":
        return TrialState.COMPLETE, trial.mean_kld, attributes
    if trial.state == "pruned":
        attributes[SHARE_ATTRIBUTE] = (trial.metrics or {}).get(SHARE_ATTRIBUTE, 1.0)
        return TrialState.PRUNED, (trial.metrics or {}).get("full_text_estimate", trial.mean_kld), attributes
    return TrialState.FAIL, None, attributes
