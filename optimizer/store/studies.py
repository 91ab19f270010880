"""Studies: made once, changed only by who holds their lease."""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, get_args

from sqlalchemy import select

from optimizer.errors import StudyError
from optimizer.store.columns import database_now
from optimizer.store.leases import Leases, require_lease
from optimizer.store.outbox import insert_events
from optimizer.store.records import Lease, NewEvent, StudyRecord, StudyState
from optimizer.store.rows import insert_missing, read
from optimizer.store.schema import Study


class Unchanged(Enum):
    """Tells "leave it as it is" from None, which clears a column."""

    UNCHANGED = 0


UNCHANGED: Final = Unchanged.UNCHANGED


class Studies(Leases):
    def create_study(self, name: str, model_id: int, config: Mapping[str, Any], *, seed: int) -> StudyRecord:
        """A new study in state `created`. Raises StudyError when the name is taken."""
        with self.writing() as session:
            values = {
                "name": name,
                "model_id": model_id,
                "config": dict(config),
                "seed": seed,
                "state": "created",
                "tokens_evaluated": 0,
                "created_at": database_now(),
            }
            if not insert_missing(session, Study, ["name"], values):
                raise StudyError(f"Study '{name}' exists already. Choose another name with --study, or continue it.")
            return read(session, Study, StudyRecord, Study.name == name)[0]

    def find_study(self, name: str) -> StudyRecord | None:
        with self.reading() as session:
            found = read(session, Study, StudyRecord, Study.name == name)
        return found[0] if found else None

    def study(self, study_id: int) -> StudyRecord:
        with self.reading() as session:
            found = read(session, Study, StudyRecord, Study.id == study_id)
        if not found:
            raise StudyError(f"Database {self.location} has no study {study_id}.")
        return found[0]

    def studies(self) -> list[StudyRecord]:
        """Oldest first."""
        with self.reading() as session:
            return read(session, Study, StudyRecord, order=Study.id)

    def update_study(
        self,
        lease: Lease,
        *,
        state: StudyState | None = None,
        phase: str | None = None,
        progress: Mapping[str, Any] | Unchanged | None = UNCHANGED,
        report: Mapping[str, Any] | Unchanged | None = UNCHANGED,
        config: Mapping[str, Any] | None = None,
        target_trials: int | Unchanged | None = UNCHANGED,
        deadline: float | Unchanged | None = UNCHANGED,
        events: Sequence[NewEvent] = (),
    ) -> None:
        """Changes what is given, with its events, in one transaction. `finished` sets the time of the end.

        Raises StudyError when the lease was lost; then nothing is changed.
        """
        if state is not None and state not in get_args(StudyState):
            raise ValueError(f"No such state of a study: {state}")
        with self.writing() as session:
            study = require_lease(session, lease)
            if state is not None:
                study.state = state
                study.finished_at = session.scalar(select(database_now())) if state == "finished" else None
            if phase is not None:
                study.phase = phase
            if config is not None:
                study.config = dict(config)
            if not isinstance(progress, Unchanged):
                study.progress = None if progress is None else dict(progress)
            if not isinstance(report, Unchanged):
                study.report = None if report is None else dict(report)
            if not isinstance(target_trials, Unchanged):
                study.target_trials = target_trials
            if not isinstance(deadline, Unchanged):
                study.deadline = deadline
            insert_events(session, lease.study_id, events)
