"""Start a trial, race it, and keep how it ended: the only writer of a study's trials."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from evaluators.errors import EvaluationError
from optimizer.errors import EngineError, StudyError
from optimizer.recipes.recipe import Recipe
from optimizer.search.budget import Budget
from optimizer.search.context import SearchContext
from optimizer.search.leader import Leader
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.problem import Proposal
from optimizer.search.race import race
from optimizer.search.started import RacedTrial, StartedTrial
from optimizer.search.trial_lines import trial_line
from optimizer.store import NewEvent, TrialOutcome, TrialRecord
from optimizer.store.records import COUNTED_STATES

TRIAL_FINISHED = "trial.finished"
MAX_FAILURES = 3
"""Recipes that may fail one after another before the search gives up: the fault is then not the recipe's."""


class TrialKeeper:
    """One budget's. `race` may be called from several threads, everything else from one."""

    def __init__(
        self,
        context: SearchContext,
        measurer: Measurer,
        budget: Budget,
        leader: Leader,
        notify: Callable[[], None],
        *,
        asks_early: bool,
        in_rounds: bool,
    ) -> None:
        """notify: tells the mirrors that the store has something new. asks_early: whether those who race ask the
        finals and the gate already, so that what these evaluate is there when the trial's turn comes: where others work
        meanwhile, and always in rounds, so that the number of workers changes nothing.
        """
        self._context = context
        self._measurer = measurer
        self._budget = budget
        self._leader = leader
        self._notify = notify
        self._asks_early = asks_early
        self._in_rounds = in_rounds
        self._failed_in_a_row: set[int] = set()
        self.counted = 0

    def start(
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
            predicted_kld=self._leader.on_race_scale(proposal.predicted_damage) if proposal else predicted_kld,
            predicted_kld_standard_error=proposal.predicted_standard_error if proposal else None,
        )

    def race(self, started: StartedTrial) -> RacedTrial:
        """Against the incumbent of its start, so that it does not matter who ends meanwhile."""
        trial, recipe, against = started.trial, started.recipe, None
        try:
            outcome, measurement = race(
                recipe,
                trial.name or trial.origin,
                self._measurer,
                started.incumbent,
                self._context.plan.config.evaluation.first_rung,
                started.share,
                trial.number,
            )
            outcome = replace(outcome, tokens_spent=(outcome.tokens_spent or 0) + started.tokens)
            if self._asks_early and (self._in_rounds or self._measurer.scorer.slots > 1):
                against = self._leader.incumbent
                asked = self._leader.ask(trial, recipe, outcome, measurement)
                outcome = replace(outcome, tokens_spent=asked.tokens_spent)
        except EvaluationError as error:
            return RacedTrial(TrialOutcome("failed", error=str(error)), None)
        return RacedTrial(outcome, measurement, against)

    def asks_again(self, raced: RacedTrial) -> bool:
        """Whether another leads since it asked: what the finals still need is evaluated where races run, so that
        nobody waits for it. In rounds nobody would.
        """
        return (
            raced.asked_against is not None
            and not self._in_rounds
            and raced.outcome.state == "complete"
            and raced.asked_against is not self._leader.incumbent
        )

    def end(self, started: StartedTrial, raced: RacedTrial) -> TrialRecord:
        """Keep the result. Raises EngineError where too many recipes failed one after another."""
        trial, outcome, measurement = started.trial, raced.outcome, raced.measurement
        if measurement is not None:
            try:
                outcome = self._leader.ask(trial, started.recipe, outcome, measurement)
            except EvaluationError as error:
                outcome, measurement = TrialOutcome("failed", error=str(error)), None
        events = [NewEvent(TRIAL_FINISHED, trial_id=trial.id)]
        ended = self._context.store.finish_trial(self._context.lease, trial.id, outcome, events=events)
        self._notify()
        crowned = self.take(ended, measurement)
        if ended.state == "failed":
            self._failed_in_a_row.add(ended.recipe_id)
        else:
            self._failed_in_a_row.clear()
        if len(self._failed_in_a_row) >= MAX_FAILURES:
            raise EngineError(f"{MAX_FAILURES} trials failed one after another, the last with: {ended.error}")
        self._context.reporter.line(trial_line(ended, crowned=crowned))
        return ended

    def take(self, ended: TrialRecord, measurement: Measurement | None) -> bool:
        """Show the race a trial that has ended; whether it leads now."""
        self._leader.note(ended)
        self.counted += ended.state in COUNTED_STATES
        return measurement is not None and ended.state == "complete" and self._leader.crown(ended, measurement)

    def measure_again(self, ended: TrialRecord) -> Measurement | None:
        """A complete trial's measurement, from the store."""
        if ended.state != "complete":
            return None
        record = self._context.store.recipe(ended.recipe_id)
        return self._measurer.measure(Recipe(record.tensor_types), self._measurer.text.n_chunks)
