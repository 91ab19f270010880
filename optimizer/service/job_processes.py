"""Jobs as processes: begun, found again after a restart of the service, interrupted, ended.

A job's lock is held by its process alone. So of a job whose process is no child of ours (a service before us began it),
the lock tells whether it lives; and of a queued one whose lock is held, that the service before us was killed between
starting it and writing that down.
"""

import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.cli import INTERRUPTED
from optimizer.errors import LayerquantError
from optimizer.service import processes
from optimizer.service.job_logs import code_file, exit_code_of, last_error, log_of, output_of
from optimizer.service.jobs import RUNS, Job, JobFile
from optimizer.store import Store
from optimizer.store.holder import Holder, current_holder, holder_of_process
from optimizer.workplace import Workplace

TICK_SECONDS = 1.0
GRACE_SECONDS = 600.0
"""How long a search may take for the evaluation under way before it is stopped at once."""


@dataclass(frozen=True)
class Rules:
    """`running`: searches at a time on this machine; exports run one at a time beside them."""

    running: int = 1
    grace_seconds: float = GRACE_SECONDS
    tick_seconds: float = TICK_SECONDS
    program: Sequence[str] = processes.LAYERQUANT


class JobProcesses:
    """Called under the supervisor's lock. `locks`: the folder of the jobs' locks."""

    def __init__(self, workplace: Workplace, store: Store, jobs: JobFile, rules: Rules, locks: Path) -> None:
        self._workplace, self._store, self._jobs, self._rules, self._locks = workplace, store, jobs, rules, locks
        self.children: dict[int, subprocess.Popen[bytes]] = {}

    def begin(self, job: Job) -> None:
        """Starts it; where that fails, the job has ended with the reason."""
        try:
            child = processes.start(
                job.arguments,
                log_of(self._workplace, job),
                self._lock_of(job),
                output=output_of(self._workplace, job),
                exit_code=code_file(self._workplace, job) if job.kind in RUNS else None,
                program=self._rules.program,
                database=self._workplace.database,
            )
        except LayerquantError as error:
            self._jobs.change(job, state="ended", ended_at=time.time(), error=str(error))
            return
        self.children[job.id] = child
        seen = holder_of_process(child.pid) or current_holder()
        self._jobs.change(
            job, state="running", started_at=time.time(), pid=child.pid, process_started=seen.started_at,
            boot_id=seen.boot_id,
        )  # fmt: skip

    def look_at(self, job: Job) -> None:
        """Writes down that it runs or has ended, and ends one that was asked to stop too long ago."""
        child = self.children.get(job.id)
        if child is not None:
            code = child.poll()
            if code is None:
                self._remind(job)
            else:
                del self.children[job.id]
                self._end(job, code)
        elif processes.is_held(self._lock_of(job)):
            if job.state == "queued":
                job = self._jobs.change(job, state="running", started_at=time.time())
            self._remind(job)
        elif job.state == "running":
            self._end(job, None)

    def interrupt(self, job: Job, *, at_once: bool) -> None:
        """Ctrl-C, or the second one; by the database where the process is not known."""
        self._jobs.change(job, stopped_at=job.stopped_at or time.time())
        process = _process(job)
        if process is None or not processes.interrupt(process, at_once=at_once):
            self._ask_to_stop(job)

    def leave(self) -> None:
        """They go on without us: nobody is to warn that they were not waited for."""
        for child in self.children.values():
            child.returncode = 0

    def _remind(self, job: Job) -> None:
        """A stop is asked for again until it is heard: a search forgets requests from before it took up its study."""
        if job.stopped_at is None:
            return
        process = _process(job)
        if process is None:
            self._ask_to_stop(job)
        elif time.time() - job.stopped_at > self._rules.grace_seconds:
            processes.interrupt(process, at_once=True)
            self._jobs.change(job, stopped_at=time.time())

    def _ask_to_stop(self, job: Job) -> None:
        record = self._store.find_study(job.study)
        if record is not None:
            self._store.request_stop(record.id)

    def _end(self, job: Job, code: int | None) -> None:
        """code: None where nobody was there to see it."""
        if code is None and job.kind in RUNS:
            code = exit_code_of(self._workplace, job)
        if code == -signal.SIGTERM and job.stopped_at is not None:
            code = INTERRUPTED  # stopped at once, before it listened or where it does not
        failed = code not in (0, INTERRUPTED, None)
        if code is None and job.kind == "search":
            record = self._store.find_study(job.study)
            failed = record is None or record.state == "failed"
        log = log_of(self._workplace, job)
        error = (last_error(log) or f"it ended with exit code {code}") if failed else None
        if code is None and job.kind in RUNS:
            error = last_error(log) or "it was killed while no service was running; what it said shows how far it came"
        self._jobs.change(job, state="ended", ended_at=time.time(), exit_code=code, error=error)
        self._lock_of(job).unlink(missing_ok=True)

    def _lock_of(self, job: Job) -> Path:
        return self._locks / f"{job.id}.lock"


def _process(job: Job) -> Holder | None:
    if job.pid is None:
        return None
    return Holder(socket.gethostname(), job.pid, job.process_started or 0.0, job.boot_id or "")
