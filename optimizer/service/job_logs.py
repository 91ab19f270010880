"""What jobs write: one log for all searches of a study, one for each export, two for each run of a command."""

from pathlib import Path

from optimizer.service.jobs import RUNS, Job
from optimizer.workplace import Workplace

SEARCH_LOG = "search.log"
TAIL_BYTES = 64 * 1024


def log_of(workplace: Workplace, job: Job) -> Path:
    """Where what a job says goes; of a run its standard error alone."""
    if job.kind in RUNS:
        return run_folder(workplace) / f"{job.id}.err"
    return workplace.study_folder(job.study) / (SEARCH_LOG if job.kind == "search" else f"export-{job.id}.log")


def output_of(workplace: Workplace, job: Job) -> Path:
    """Where its standard output goes."""
    return run_folder(workplace) / f"{job.id}.out" if job.kind in RUNS else log_of(workplace, job)


def exit_code_of(workplace: Workplace, job: Job) -> int | None:
    """What a run itself wrote down as it ended; None where it was killed before."""
    try:
        return int(code_file(workplace, job).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def code_file(workplace: Workplace, job: Job) -> Path:
    return run_folder(workplace) / f"{job.id}.code"


def run_folder(workplace: Workplace) -> Path:
    return workplace.studies / "service" / "runs"


def last_lines(log: Path, most: int | None = None) -> list[str]:
    """Those of its last 64 KiB; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    return lines if most is None else lines[-most:]


def last_error(log: Path) -> str | None:
    """What the command said last, if it was an error."""
    found = next((line for line in reversed(last_lines(log)) if line.startswith("error: ")), None)
    return None if found is None else found.removeprefix("error: ")
