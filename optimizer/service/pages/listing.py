"""`/`: every study with its state, its progress, and its best beside the best preset of its bytes."""

from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

from optimizer.service.context import Here, Service
from optimizer.service.pages.rendering import page_router, render
from optimizer.service.pages.study_data import StudyData, label_of, study_data

router = page_router()


@dataclass(frozen=True)
class Listed:
    """One study as the list shows it. `done`, `total`: trials."""

    name: str
    state: str
    phase: str
    done: int
    total: int | None
    eta_seconds: float | None
    best: str
    size_bytes: int | None
    kld: float | None
    standard_error: float | None
    preset: str
    ratio: float | None
    error: str


@router.get("/")
def index(request: Request, here: Here) -> Response:
    studies = _studies(here)
    return render(request, "index.html.j2", studies=studies, active=_active(studies))


@router.get("/studies")
def list_part(request: Request, here: Here) -> HTMLResponse:
    """The list alone, as the page asks for it while something runs."""
    studies = _studies(here)
    return render(request, "index_list.html.j2", studies=studies, active=_active(studies))


def _studies(here: Service) -> list[Listed]:
    """Newest first."""
    return [_listed(study_data(here, str(view["study"]))) for view in reversed(here.views())]


def _active(studies: list[Listed]) -> bool:
    return any(each.state in ("running", "queued", "starting") for each in studies)


def _listed(data: StudyData) -> Listed:
    view, best, preset = data.view, data.best, data.best_preset
    counts: dict[str, Any] = view["trials"]
    return Listed(
        name=data.name,
        state=str(view["state"]),
        phase=str(view["phase"] or ""),
        done=counts["complete"] + counts["pruned"],
        total=view["target_trials"],
        eta_seconds=view["eta_seconds"] if data.active else None,
        best="" if best is None else label_of(best),
        size_bytes=None if best is None else best.size_bytes,
        kld=None if best is None else best.mean_kld,
        standard_error=None if best is None else best.mean_kld_standard_error,
        preset="" if preset is None else str(preset.name),
        ratio=data.ratio,
        error=str((view["job"] or {}).get("error") or ""),
    )
