"""What every handler of the service needs, made once when it starts."""

import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from optimizer.commands.studies import status_object
from optimizer.service.audit import Audit
from optimizer.service.elsewhere import Elsewhere
from optimizer.service.jobs import Job, what_it_waits_for
from optimizer.service.places import Places
from optimizer.service.problems import NotFound
from optimizer.service.settings import ServiceSettings
from optimizer.service.summaries import Summaries
from optimizer.service.supervisor import FOLDER, Supervisor
from optimizer.service.watchers import Watchers
from optimizer.store import Store, StudyRecord
from optimizer.store.records import TRIAL_STATES


@dataclass(frozen=True)
class Service:
    settings: ServiceSettings
    store: Store
    supervisor: Supervisor
    places: Places
    audit: Audit
    planning: threading.Lock = field(default_factory=threading.Lock)
    """llama.cpp names the types of a preset in log lines, and a process has one log."""

    launching: threading.Lock = field(default_factory=threading.Lock)
    watchers: Watchers = field(default_factory=Watchers)
    summaries: Summaries = field(default_factory=Summaries)

    @property
    def outputs(self) -> Path:
        """Where the runs of commands write their files, which later ones may name."""
        return (self.settings.workplace.studies / FOLDER / "files").resolve()

    @cached_property
    def elsewhere(self) -> Elsewhere:
        return Elsewhere(self.settings.optuna_dashboard, self.settings.mlflow)

    def study(self, name: str) -> StudyRecord:
        """Raises NotFound."""
        found = self.store.find_study(name)
        if found is None:
            raise NotFound(f"there is no study {name}; GET /api/studies lists those there are")
        return found

    def view(self, name: str) -> dict[str, Any]:
        """`status --json` of a study, and as `job` what the service last ran for it. Raises NotFound.

        `state` is `queued` or `starting` before its search has taken it up, `failed` where it never could.
        """
        record, job = self.store.find_study(name), self.supervisor.job_of(name)
        if record is None and job is None:
            raise NotFound(f"there is no study {name}; GET /api/studies lists those there are")
        return self._view(record, job, name)

    def views(self) -> list[dict[str, Any]]:
        """Of all studies; those that only wait in the queue come last."""
        records = {record.name: record for record in self.store.studies()}
        jobs = {job.study: job for job in self.supervisor.jobs() if job.kind == "search"}
        return [self._view(records.get(name), jobs.get(name), name) for name in {**records, **jobs}]

    def _view(self, record: StudyRecord | None, job: Job | None, name: str) -> dict[str, Any]:
        shown = _nothing_yet(name) if record is None else self._status(record)
        state = shown_state(None if record is None else shown["state"], job)
        phase = what_it_waits_for(job, self.supervisor.jobs()) or shown["phase"]
        return shown | {"state": state, "phase": phase, "job": None if job is None else job.as_json()}

    def _status(self, record: StudyRecord) -> dict[str, Any]:
        return status_object(self.store, record, self.summaries.of(self.store, record).standing)


def shown_state(state: str | None, job: Job | None) -> str:
    """state: of the study's record; None where only a job knows of it."""
    if job is not None and job.state == "queued":
        return "queued"
    if job is not None and job.state == "running" and state != "running":
        return "starting"
    return state or "failed"


def _nothing_yet(name: str) -> dict[str, Any]:
    """The keys of `status --json` of a study that the database does not have."""
    return {
        "study": name,
        "state": "created",
        "holder": None,
        "phase": None,
        "at_work": None,
        "trials": dict.fromkeys(TRIAL_STATES, 0),
        "target_trials": None,
        "best": None,
        "eta_seconds": None,
        "tokens_evaluated": 0,
        "honesty": None,
        "wider": [],
        "stop_requested": False,
    }


def _service(request: Request) -> Service:
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


Here = Annotated[Service, Depends(_service)]
"""A handler's parameter of this type is the service."""
