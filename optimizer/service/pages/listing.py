"""`/`: every study with its state, its progress, and its best beside the best preset of its bytes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import Response

from optimizer.service.context import Here, Service, shown_state
from optimizer.service.jobs import Job, what_it_waits_for
from optimizer.service.pages.rendering import duration_text, page_router, render
from optimizer.service.pages.study_data import label_of
from optimizer.store import StudyRecord

ACTIVE = ("running", "queued", "starting")

router = page_router()


@dataclass(frozen=True)
class Listed:
    """One study as the list shows it. `done`, `total`: trials. `left`: time, in words."""

    name: str
    state: str
    phase: str = ""
    done: int = 0
    total: int | None = None
    left: str = ""
    best: str = ""
    size_bytes: int | None = None
    kld: float | None = None
    standard_error: float | None = None
    preset: str = ""
    ratio: float | None = None
    error: str = ""


@router.get("/")
def index(request: Request, here: Here) -> Response:
    return render(request, "index.html.j2", **_shown(_studies(here)))


@router.get("/studies")
def list_part(request: Request, here: Here, version: str = "") -> Response:
    """The list alone, as the page asks for it while something runs; nothing where `version` is still the page's."""
    shown = _shown(_studies(here))
    if shown["version"] == version:
        return Response(status_code=204)
    return render(request, "index_list.html.j2", **shown)


def _shown(studies: Sequence[Listed]) -> dict[str, object]:
    version = hashlib.sha256(repr(studies).encode()).hexdigest()[:16]
    return {"studies": studies, "active": any(each.state in ACTIVE for each in studies), "version": version}


def _studies(here: Service) -> list[Listed]:
    """Newest first, those that only wait in the queue before all others."""
    records = {record.name: record for record in here.store.studies()}
    jobs = {job.study: job for job in here.supervisor.jobs() if job.kind == "search"}
    return [_listed(here, name, records.get(name), jobs.get(name)) for name in reversed({**records, **jobs})]


def _listed(here: Service, name: str, record: StudyRecord | None, job: Job | None) -> Listed:
    error = (job.error if job else None) or ""
    waits = what_it_waits_for(job, here.supervisor.jobs())
    if record is None:
        return Listed(name, shown_state(None, job), phase=waits or "", error=error)
    status, found = here.store.status(record.id), here.summaries.of(here.store, record)
    state, best, preset = shown_state(status.state, job), found.best, found.preset
    return Listed(
        name=name,
        state=state,
        phase=waits or status.phase or "",
        done=status.trials["complete"] + status.trials["pruned"],
        total=status.target_trials,
        left=duration_text(status.eta_seconds) if state in ACTIVE else "",
        best="" if best is None else label_of(best),
        size_bytes=None if best is None else best.size_bytes,
        kld=None if best is None else best.mean_kld,
        standard_error=None if best is None else best.mean_kld_standard_error,
        preset="" if preset is None else str(preset.name),
        ratio=found.ratio,
        error=error,
    )
