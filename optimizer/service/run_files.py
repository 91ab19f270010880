"""What a run leaves: what it said, and the files that it wrote."""

import codecs
from pathlib import Path
from typing import Any

from optimizer.service.context import Service
from optimizer.service.job_logs import code_file, log_of, output_of, run_folder
from optimizer.service.jobs import RUNS, Job
from optimizer.service.problems import NotFound

MAX_BYTES = 256 * 1024
SHOWN = ("id", "state", "submitted_at", "started_at", "stopped_at", "ended_at", "exit_code", "error")


def run_object(here: Service, job: Job) -> dict[str, Any]:
    """A run as the API shows it."""
    shown = {name: getattr(job, name) for name in SHOWN}
    files = [{"name": name, "size_bytes": path.stat().st_size} for name, path in written(here, job).items()]
    return shown | {"command": " ".join(("layerquant", *job.arguments)), "files": files}


def written(here: Service, job: Job) -> dict[str, Path]:
    """The files of a run that ended well, by name; one that a later run writes is that run's."""
    if job.state != "ended" or job.error is not None or job.exit_code != 0:
        return {}
    later = {
        name for other in here.supervisor.jobs() if other.id > job.id and other.started_at for name in other.writes
    }
    found = {name: here.outputs / name for name in job.writes if name not in later}
    return {
        name: path for name, path in found.items() if path.is_file() and path.resolve().is_relative_to(here.outputs)
    }


def read_said(log: Path, start: int, *, ended: bool) -> tuple[str, int]:
    """Text from a byte on, at most 256 KiB, and where to read on. A character that is half written waits."""
    try:
        with log.open("rb") as file:
            file.seek(start)
            data = file.read(MAX_BYTES)
    except OSError:
        return "", start
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=ended and len(data) < MAX_BYTES)
    return text, start + len(data) - len(decoder.getstate()[0])


def remove_files(here: Service, job: Job) -> None:
    """What it said and what it wrote; an output that it began, too."""
    workplace = here.settings.workplace
    kept = {name for other in here.supervisor.jobs() if other.id != job.id for name in other.writes}
    outputs = [here.outputs / name for name in job.writes if name not in kept]
    partial = [path.with_name(f"{path.name}.partial") for path in outputs]
    said = (log_of(workplace, job), output_of(workplace, job), code_file(workplace, job))
    for path in (*said, *outputs, *partial):
        path.unlink(missing_ok=True)


def remove_forgotten(here: Service) -> None:
    """What runs said that the queue no longer remembers."""
    known = {str(job.id) for job in here.supervisor.jobs() if job.kind in RUNS}
    for path in run_folder(here.settings.workplace).glob("*.*"):
        if path.stem not in known:
            path.unlink(missing_ok=True)


def find_run(here: Service, number: int) -> Job:
    """Raises NotFound."""
    job = here.supervisor.run(number)
    if job is None:
        raise NotFound(f"there is no run {number}; GET /api/runs lists those there are")
    return job
