"""Runs jobs one after the other, each as a process that does not need the service; knows them after a restart."""

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import LayerquantError, StudyError
from optimizer.service import processes
from optimizer.service.jobs import Job, JobFile, JobKind
from optimizer.store import Store
from optimizer.store.holder import Holder, current_holder, holder_of_process
from optimizer.workplace import Workplace

LOGGER = logging.getLogger("layerquant.service")
FOLDER = "service"
LOG_NAME = "search.log"
TICK_SECONDS = 1.0
GRACE_SECONDS = 600.0
"""How long a search may take for the evaluation under way before it is stopped at once."""
LOG_TAIL = 64 * 1024
SHOWN_LINES = 200


@dataclass(frozen=True)
class Rules:
    """`running`: searches at a time on this machine; exports run one at a time beside them."""

    running: int = 1
    grace_seconds: float = GRACE_SECONDS
    tick_seconds: float = TICK_SECONDS
    program: Sequence[str] = processes.LAYERQUANT


class Supervisor:
    """Safe to use from several threads. `close` ends the watching, never a process."""

    def __init__(self, workplace: Workplace, store: Store, rules: Rules) -> None:
        """Raises StudyError where another service has this folder, StorageError for a damaged queue."""
        self._workplace, self._store, self._rules = workplace, store, rules
        self._folder = workplace.studies / FOLDER
        self._owned = processes.hold(self._folder / "service.lock")
        if self._owned is None:
            raise StudyError(f"another service has the studies in {workplace.studies}; use it, or stop it first")
        self._jobs = JobFile(self._folder / "jobs.json")
        self._children: dict[int, subprocess.Popen[bytes]] = {}
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
        for child in self._children.values():
            child.returncode = 0  # it goes on without us: nobody is to warn that it was not waited for
        processes.release(self._owned)

    def jobs(self) -> list[Job]:
        with self._lock:
            return self._jobs.all()

    def job_of(self, study: str) -> Job | None:
        """The last search of a study that the service was asked for."""
        with self._lock:
            return self._jobs.of_study(study)

    def submit(self, kind: JobKind, study: str, arguments: Sequence[str], by: str, output: Path | None = None) -> Job:
        """Queues a job; it starts when its turn comes. Raises StudyError where the study is at work already."""
        with self._lock:
            if kind == "search":
                self.check_free(study)
            elif any(job.output == str(output) and job.state != "ended" for job in self._jobs.all()):
                raise StudyError(f"{output} is being written already")
            made = self._jobs.add(kind, study, arguments, by, time.time(), None if output is None else str(output))
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
            if job is not None and job.state == "queued":
                self._jobs.change(job, state="ended", ended_at=time.time(), error="stopped before it began")
                return True
            if job is not None and job.state == "running":
                self._interrupt(job, at_once=at_once)
                return True
        record = self._store.find_study(study)
        if record is None or self.holder(study) is None:
            return False
        self._store.request_stop(record.id)  # it was started by somebody else, perhaps on another machine
        return True

    def forget(self, study: str) -> None:
        with self._lock:
            self._jobs.forget(study)

    def holder(self, study: str) -> str | None:
        """Who works on a study, as `layerquant status` says it."""
        record = self._store.find_study(study)
        return None if record is None else self._store.status(record.id).holder

    def log(self, job: Job) -> Path:
        """Where a job's output goes."""
        name = LOG_NAME if job.kind == "search" else f"export-{job.id}.log"
        return self._workplace.study_folder(job.study) / name

    def log_tail(self, study: str) -> str:
        """The last lines of the study's search, whoever started it with a log."""
        path = self._workplace.study_folder(study) / LOG_NAME
        return "\n".join(_last_lines(path)[-SHOWN_LINES:])

    def tick(self) -> None:
        """Looks after the jobs once: ends, escalations, the next in the queue."""
        with self._lock:
            for job in self._jobs.all():
                if job.state != "ended":
                    self._look_at(job)
            for kind, places in (("search", self._free_places()), ("export", 1 - self._count("export"))):
                queued = [job for job in self._jobs.all() if job.state == "queued" and job.kind == kind]
                for job in queued[: max(0, places)]:
                    self._begin(job)

    def _watch(self) -> None:
        while not self._closing.is_set():
            self._wake.wait(self._rules.tick_seconds)
            self._wake.clear()
            try:
                self.tick()
            except LayerquantError as error:  # a full disk or a busy database: the next tick tries again
                LOGGER.warning("%s", error)

    def _look_at(self, job: Job) -> None:
        child = self._children.get(job.id)
        if child is not None:
            code = child.poll()
            if code is None:
                self._escalate(job)
            else:
                del self._children[job.id]
                self._end(job, code)
        elif processes.is_held(self._lock_of(job)):
            if job.state == "queued":  # the service was killed between starting it and writing that down
                self._jobs.change(job, state="running", started_at=time.time())
            self._escalate(job)
        elif job.state == "running":
            self._end(job, None)

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
        return self._rules.running - len(ours) - len(others)

    def _count(self, kind: JobKind) -> int:
        return sum(job.state == "running" and job.kind == kind for job in self._jobs.all())

    def _begin(self, job: Job) -> None:
        try:
            child = processes.start(job.arguments, self.log(job), self._lock_of(job), program=self._rules.program)
        except LayerquantError as error:
            self._jobs.change(job, state="ended", ended_at=time.time(), error=str(error))
            return
        self._children[job.id] = child
        seen = holder_of_process(child.pid) or current_holder()
        self._jobs.change(
            job, state="running", started_at=time.time(), pid=child.pid, process_started=seen.started_at,
            boot_id=seen.boot_id,
        )  # fmt: skip

    def _end(self, job: Job, code: int | None) -> None:
        failed = code not in (0, 130, None)
        if code is None and job.kind == "search":
            record = self._store.find_study(job.study)
            failed = record is None or record.state == "failed"
        error = (_last_error(self.log(job)) or f"it ended with exit code {code}") if failed else None
        self._jobs.change(job, state="ended", ended_at=time.time(), exit_code=code, error=error)
        self._lock_of(job).unlink(missing_ok=True)

    def _interrupt(self, job: Job, *, at_once: bool) -> None:
        self._jobs.change(job, stopped_at=job.stopped_at or time.time())
        process = self._process(job)
        if process is not None and processes.interrupt(process, at_once=at_once):
            return
        record = self._store.find_study(job.study)
        if record is not None:
            self._store.request_stop(record.id)

    def _escalate(self, job: Job) -> None:
        process = self._process(job)
        late = job.stopped_at is not None and time.time() - job.stopped_at > self._rules.grace_seconds
        if late and process is not None:
            processes.interrupt(process, at_once=True)
            self._jobs.change(job, stopped_at=time.time())

    def _process(self, job: Job) -> Holder | None:
        if job.pid is None:
            return None
        return Holder(socket.gethostname(), job.pid, job.process_started or 0.0, job.boot_id or "")

    def _lock_of(self, job: Job) -> Path:
        return self._folder / "running" / f"{job.id}.lock"


def _last_lines(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def _last_error(log: Path) -> str | None:
    """What the command said last, if it was an error."""
    found = next((line for line in reversed(_last_lines(log)) if line.startswith("error: ")), None)
    return None if found is None else found.removeprefix("error: ")
