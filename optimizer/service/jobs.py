"""What the service was asked to run: kept in one small file, so that a restarted service goes on with it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from optimizer.errors import StorageError
from optimizer.text_files import write_text

JobKind = Literal["search", "export", "command", "check"]
"""`command`: one of the command line's with a model to run; `check`: one that is over in seconds."""
HEAVY: tuple[JobKind, ...] = ("search", "command")
RUNS: tuple[JobKind, ...] = ("command", "check")
JobState = Literal["queued", "running", "ended"]
KEPT_ENDED = 200
"""Ended jobs that are remembered; what they did is in the database and in their logs."""


@dataclass(frozen=True)
class Job:
    """One command that the service runs as a process of its own."""

    id: int
    kind: JobKind
    study: str
    """Empty where it is no study's."""
    arguments: tuple[str, ...]
    """As on the command line, behind `layerquant`."""
    by: str
    submitted_at: float
    state: JobState = "queued"
    output: str | None = None
    """The file that an export writes."""
    writes: tuple[str, ...] = ()
    """Names of what a run writes, in the service's folder of outputs."""
    pid: int | None = None
    process_started: float | None = None
    boot_id: str | None = None
    started_at: float | None = None
    stopped_at: float | None = None
    """When it was first asked to stop."""
    ended_at: float | None = None
    exit_code: int | None = None
    """None, too, where it ended while no service was running."""
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What the API says of it: nothing of processes and folders."""
        shown = ("id", "kind", "study", "state", "submitted_at", "started_at", "stopped_at", "ended_at")
        return {name: getattr(self, name) for name in (*shown, "exit_code", "error")} | {
            "command": " ".join(("layerquant", *self.arguments)),
            "file": None if self.output is None else Path(self.output).name,
        }


def what_it_waits_for(job: Job | None, jobs: Iterable[Job]) -> str | None:
    """In words, of one that queues for a place among the heavy ones; None where no job of ours is in its way."""
    if job is None or job.state != "queued" or job.kind not in HEAVY:
        return None
    others = [
        f"study {each.study}" if each.study else f"run {each.id} ({each.arguments[0]})"
        for each in jobs
        if each.state == "running" and each.kind in HEAVY
    ]
    return f"waits for {', '.join(others)}" if others else None


class JobFile:
    """All jobs by number, written whole at every change. One service at a time uses it."""

    def __init__(self, path: Path) -> None:
        """Raises StorageError for a file that is none of ours."""
        self._path = path
        self._jobs: dict[int, Job] = {}
        try:
            rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
            for row in rows:
                listed = {key: tuple(row[key]) for key in ("arguments", "writes") if key in row}
                job = Job(**(row | listed))
                self._jobs[job.id] = job
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StorageError(
                f"{path} cannot be read ({error}); move it away: studies are untouched, the queue is lost"
            ) from None

    def all(self) -> list[Job]:
        """In the order in which they were submitted."""
        return list(self._jobs.values())

    def of_study(self, study: str, kind: JobKind = "search") -> Job | None:
        """The last one."""
        return next((job for job in reversed(self.all()) if job.study == study and job.kind == kind), None)

    def find(self, number: int) -> Job | None:
        return self._jobs.get(number)

    def add(
        self,
        kind: JobKind,
        study: str,
        arguments: Iterable[str],
        by: str,
        now: float,
        output: str | None,
        writes: Iterable[str] = (),
    ) -> Job:
        """Raises StorageError where it cannot be kept; then it is not run either."""
        number = max(self._jobs, default=0) + 1
        made = Job(number, kind, study, tuple(arguments), by, now, output=output, writes=tuple(writes))
        self._jobs[number] = made
        try:
            self._write()
        except StorageError:
            del self._jobs[number]
            raise
        return made

    def change(self, job: Job, **changes: Any) -> Job:
        self._jobs[job.id] = replace(self._jobs[job.id], **changes)
        self._write()
        return self._jobs[job.id]

    def forget(self, study: str) -> None:
        """Drops the ended jobs of a study that was deleted."""
        self._jobs = {job.id: job for job in self.all() if job.study != study or job.state != "ended"}
        self._write()

    def remove(self, number: int) -> None:
        """Drops one job that has ended."""
        del self._jobs[number]
        self._write()

    def _write(self) -> None:
        ended = [job.id for job in self.all() if job.state == "ended"]
        for number in ended[: max(0, len(ended) - KEPT_ENDED)]:
            del self._jobs[number]
        write_text(self._path, json.dumps([asdict(job) for job in self.all()], indent=1))
