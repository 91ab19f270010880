"""Runs jobs one after the other, each as a process that does not need the service; knows them after a restart."""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from optimizer.errors import LayerquantError, StudyError
from optimizer.service import processes
from optimizer.service.job_logs import SEARCH_LOG, last_lines
from optimizer.service.job_processes import JobProcesses, Rules
from optimizer.service.jobs import HEAVY, RUNS, Job, JobFile, JobKind
from optimizer.store import Store
from optimizer.workplace import Workplace

LOGGER = logging.getLogger("layerquant.service")
FOLDER = "service"
SHOWN_LINES = 200


class Supervisor:
    """Safe to use from several threads. `close` ends the watching, never a process."""

    def __init__(self, workplace: Workplace, store: Store, rules: Rules) -> None:
        """Raises StudyError where another service has this folder, StorageError for a damaged queue."""
        self._workplace, self._store, self._rules = workplace, store, rules
        folder = workplace.studies / FOLDER
        self._owned = processes.hold(folder / "service.lock")
        if self._owned is None:
            raise StudyError(f"another service has the studies in {workplace.studies}; use it, or stop it first")
        self._jobs = JobFile(folder / "jobs.json")
        self._processes = JobProcesses(workplace, store, self._jobs, rules, folder / "running")
        self._lock = threading.RLock()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self.tick()
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._processes.leave()
        processes.release(self._owned)

    def jobs(self) -> list[Job]:
        with self._lock:
            return self._jobs.all()

    def job_of(self, study: str) -> Job | None:
        """The last search of a study that the service was asked for."""
        with self._lock:
            return self._jobs.of_study(study)

    def submit(
        self,
        kind: JobKind,
        study: str,
        arguments: Sequence[str],
        by: str,
        output: Path | None = None,
        writes: Sequence[str] = (),
    ) -> Job:
        """Queues a job; it starts when its turn comes. Raises StudyError where the study is at work already."""
        with self._lock:
            if kind == "search":
                self.check_free(study)
            written = None if output is None else str(output)
            for job in self._jobs.all():
                if job.state != "ended" and ({job.output, *job.writes} & {written, *writes}) - {None}:
                    raise StudyError(f"{', '.join((*writes, *filter(None, [written])))} is being written already")
            made = self._jobs.add(kind, study, arguments, by, time.time(), written, writes)
        self._wake.set()
        return made

    def check_free(self, study: str) -> None:
        """Raises StudyError where a search of the study waits or runs, whoever started it."""
        with self._lock:
            job = self._jobs.of_study(study)
        if job is not None and job.state != "ended":
            raise StudyError(f"study {study} is {job.state} already (job {job.id})")
        holder = self.holder(study)
        if holder is not None:
            raise StudyError(f"study {study} is running already: {holder}")

    def stop(self, study: str, *, at_once: bool = False) -> bool:
        """Ctrl-C for the search of a study, or its place in the queue given up. False where there is neither."""
        with self._lock:
            job = self._jobs.of_study(study)
            if job is not None and self._stop(job, at_once=at_once):
                return True
        record = self._store.find_study(study)
        if record is None or self.holder(study) is None:
            return False
        self._store.request_stop(record.id)  # it was started by somebody else, perhaps on another machine
        return True

    def run(self, number: int) -> Job | None:
        """A run of a command by its number."""
        with self._lock:
            job = self._jobs.find(number)
        return job if job is not None and job.kind in RUNS else None

    def stop_run(self, job: Job, *, at_once: bool = False) -> bool:
        """Ctrl-C for a run. False where it has ended."""
        with self._lock:
            now = self.run(job.id)
            return now is not None and self._stop(now, at_once=at_once)

    def remove_run(self, job: Job) -> None:
        """Raises StudyError for one that has not ended."""
        with self._lock:
            now = self.run(job.id)
            if now is not None and now.state != "ended":
                raise StudyError(f"run {job.id} is {now.state}; stop it first")
            if now is not None:
                self._jobs.remove(job.id)

    def _stop(self, job: Job, *, at_once: bool) -> bool:
        if job.state == "queued":
            self._jobs.change(job, state="ended", ended_at=time.time(), error="stopped before it began")
        elif job.state == "running":
            self._processes.interrupt(job, at_once=at_once)
        else:
            return False
        return True

    def forget(self, study: str) -> None:
        with self._lock:
            self._jobs.forget(study)

    def holder(self, study: str) -> str | None:
        """Who works on a study, as `layerquant status` says it."""
        record = self._store.find_study(study)
        return None if record is None else self._store.status(record.id).holder

    def log_tail(self, study: str) -> str:
        """The last lines of the study's search, whoever started it with a log."""
        return "\n".join(last_lines(self._workplace.study_folder(study) / SEARCH_LOG, SHOWN_LINES))

    def tick(self) -> None:
        """Looks after the jobs once: ends, reminders, the next in the queue."""
        with self._lock:
            for job in self._jobs.all():
                if job.state != "ended":
                    self._processes.look_at(job)
            lanes = ((HEAVY, self._free_places()), *(((kind,), 1 - self._count(kind)) for kind in ("export", "check")))
            for kinds, places in lanes:
                queued = [job for job in self._jobs.all() if job.state == "queued" and job.kind in kinds]
                for job in queued[: max(0, places)]:
                    self._processes.begin(job)

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._rules.tick_seconds)
            self._wake.clear()
            try:
                self.tick()
            except LayerquantError as error:  # a full disk or a busy database: the next tick tries again
                LOGGER.warning("%s", error)

    def _free_places(self) -> int:
        """Searches that somebody else started on this machine take places, too."""
        ours = {job.study for job in self._jobs.all() if job.state == "running" and job.kind == "search"}
        here = f" on {socket.gethostname()}"
        others = [
            record.name
            for record in self._store.studies()
            if record.state == "running"
            and record.name not in ours
            and (self._store.status(record.id).holder or "").endswith(here)
        ]
        return self._rules.running - len(ours) - len(others) - self._count("command")

    def _count(self, kind: JobKind) -> int:
        return sum(job.state == "running" and job.kind == kind for job in self._jobs.all())
