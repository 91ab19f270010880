"""Trials: numbered in order, ended exactly once, continued after a kill under their own number."""

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import case, func, select, update

from optimizer.errors import StudyError
from optimizer.store.catalogue import Catalogue, insert_evaluations
from optimizer.store.columns import database_now, plain_text
from optimizer.store.leases import require_lease
from optimizer.store.outbox import insert_events
from optimizer.store.records import (
    COUNTED_STATES,
    InterruptedTrial,
    Lease,
    NewEvaluation,
    NewEvent,
    RecipeRecord,
    TrialOutcome,
    TrialRecord,
    TrialState,
)
from optimizer.store.rows import changed_rows, read
from optimizer.store.schema import RecipeRow, Trial


class Trials(Catalogue):
    def start_trial(
        self,
        lease: Lease,
        *,
        origin: str,
        recipe_id: int,
        size_bytes: int,
        params: Mapping[str, str],
        budget_bytes: int | None = None,
        name: str | None = None,
        layer_types: str | None = None,
        predicted_kld: float | None = None,
        predicted_kld_standard_error: float | None = None,
    ) -> TrialRecord:
        """A `running` trial under the study's next number. Raises StudyError when the lease was lost."""
        with self.writing() as session:
            require_lease(session, lease)
            last = session.scalar(select(func.max(Trial.number)).where(Trial.study_id == lease.study_id))
            trial = Trial(
                study_id=lease.study_id,
                number=0 if last is None else last + 1,
                state="running",
                origin=origin,
                name=name,
                budget_bytes=budget_bytes,
                recipe_id=recipe_id,
                size_bytes=size_bytes,
                predicted_kld=predicted_kld,
                predicted_kld_standard_error=predicted_kld_standard_error,
                params=dict(params),
                layer_types=layer_types,
                lease_token=lease.token,
                started_at=session.scalar(select(database_now())),
            )
            session.add(trial)
            session.flush()
            return read(session, Trial, TrialRecord, Trial.id == trial.id)[0]

    def finish_trial(
        self,
        lease: Lease,
        trial_id: int,
        outcome: TrialOutcome,
        *,
        evaluations: Sequence[NewEvaluation] = (),
        events: Sequence[NewEvent] = (),
    ) -> TrialRecord:
        """Result, end of the trial and events in one transaction: all of it is there, or nothing is.

        Raises StudyError when the lease was lost or the trial has ended before; then nothing is changed.
        """
        if outcome.state == "complete" and (outcome.mean_kld is None or not math.isfinite(outcome.mean_kld)):
            raise ValueError("A complete trial has a finite mean KLD; one without is a failed trial.")
        with self.writing() as session:
            study = require_lease(session, lease)
            now = session.scalar(select(database_now())) or 0.0
            took = case((Trial.started_at < now, now - Trial.started_at), else_=0.0)  # the clock may be set back
            values = {name: getattr(outcome, name) for name in TrialOutcome.__slots__}
            values["error"] = plain_text(outcome.error)
            ended = changed_rows(
                session,
                update(Trial)
                .where(Trial.id == trial_id, Trial.study_id == lease.study_id, Trial.state == "running")
                .values(**values, finished_at=now, duration_seconds=took),
            )
            if ended != 1:
                raise StudyError(f"Study '{study.name}' has no running trial with id {trial_id}: it has ended before.")
            insert_evaluations(session, evaluations, lease.study_id)
            insert_events(session, lease.study_id, events)
            return read(session, Trial, TrialRecord, Trial.id == trial_id)[0]

    def reconcile(self, lease: Lease) -> list[InterruptedTrial]:
        """At the start of a run: takes over the running trials of earlier holders, to be run again, by number.

        Each keeps its number and recipe; its clock starts anew. Evaluations that it had are found in the cache.
        """
        with self.writing() as session:
            require_lease(session, lease)
            left = (Trial.study_id == lease.study_id, Trial.state == "running", Trial.lease_token != lease.token)
            numbers = list(session.scalars(select(Trial.number).where(*left)))
            session.execute(
                update(Trial)
                .where(*left)
                .values(lease_token=lease.token, started_at=database_now(), attempts=Trial.attempts + 1)
            )
            taken = (Trial.study_id == lease.study_id, Trial.number.in_(numbers))
            return [
                InterruptedTrial(trial, read(session, RecipeRow, RecipeRecord, RecipeRow.id == trial.recipe_id)[0])
                for trial in read(session, Trial, TrialRecord, *taken, order=Trial.number)
            ]

    def trials(
        self, study_id: int, states: Sequence[TrialState] = (), *, first: int = 0, last: int | None = None
    ) -> list[TrialRecord]:
        """From number `first` on, to `last` with it, by number; of all states when none is named."""
        where = [Trial.study_id == study_id, Trial.number >= first]
        if last is not None:
            where.append(Trial.number <= last)
        if states:
            where.append(Trial.state.in_(states))
        with self.reading() as session:
            return read(session, Trial, TrialRecord, *where, order=Trial.number)

    def trial(self, study_id: int, number: int) -> TrialRecord:
        with self.reading() as session:
            found = read(session, Trial, TrialRecord, Trial.study_id == study_id, Trial.number == number)
        if not found:
            raise StudyError(f"The study has no trial {number}. `layerquant trials` lists those it has.")
        return found[0]

    def trial_by_id(self, trial_id: int) -> TrialRecord:
        with self.reading() as session:
            found = read(session, Trial, TrialRecord, Trial.id == trial_id)
        if not found:
            raise StudyError(f"Database {self.location} has no trial with id {trial_id}.")
        return found[0]

    def count_trials(self, study_id: int, states: Sequence[TrialState] = COUNTED_STATES) -> int:
        """By default what `--trials N` counts: complete and pruned."""
        with self.reading() as session:
            counted = select(func.count()).where(Trial.study_id == study_id, Trial.state.in_(states))
            return session.scalar(counted) or 0

    def count_settled_trials(self, study_id: int) -> int:
        """How many trials come before the first that still runs: the ones that nothing will change any more."""
        with self.reading() as session:
            running = select(func.min(Trial.number)).where(Trial.study_id == study_id, Trial.state == "running")
            first = session.scalar(running)
            where = [Trial.study_id == study_id]
            if first is not None:
                where.append(Trial.number < first)
            return session.scalar(select(func.count()).where(*where)) or 0
