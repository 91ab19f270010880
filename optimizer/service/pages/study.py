"""`/studies/STUDY`: the front, the winner's layer map and every trial, kept fresh while the search runs."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from optimizer.export.findings_figure import predicted_against_measured
from optimizer.export.report_figure import Figure, type_map
from optimizer.export.report_findings import Forecasts
from optimizer.search.trial_findings import honesty_of
from optimizer.service.context import Here, Service
from optimizer.service.pages.rendering import page_router, render
from optimizer.service.pages.sensitivity_figure import sensitivity_figure
from optimizer.service.pages.short_names import short_settings
from optimizer.service.pages.study_data import StudyData, map_of, study_data
from optimizer.service.routes.trials import show_sensitivities

router = page_router()


@router.get("/studies/{study}")
def show(request: Request, study: str, here: Here) -> Response:
    return render(request, "study.html.j2", **_values(here, study_data(here, study)))


@router.get("/studies/{study}/live")
def live(request: Request, study: str, here: Here, version: str = "") -> Response:
    """What changes as trials end; nothing at all where `version` is still that of the page."""
    data = study_data(here, study)
    if data.version == version:
        return Response(status_code=204)
    return render(request, "study_live.html.j2", **_values(here, data))


@router.get("/studies/{study}/progress")
def progress(request: Request, study: str, here: Here) -> Response:
    """The line that changes every second."""
    return render(request, "study_progress.html.j2", view=here.view(study))


@router.get("/studies/{study}/elsewhere")
def elsewhere(request: Request, study: str, here: Here) -> Response:
    """Links to what else shows the study; apart from the page, which does not wait for other servers."""
    return render(request, "study_elsewhere.html.j2", links=here.elsewhere.links(here.study(study)))


def _values(here: Service, data: StudyData) -> dict[str, Any]:
    best, record = data.best, data.record
    figures: dict[str, Figure] = {}
    layers = map_of(here, best) if best is not None else None
    if layers is not None and layers.roles:
        figures["map"] = type_map(layers)
    honesty = honesty_of(data.trials)
    forecasts = [
        (trial.number, trial.predicted_kld, trial.mean_kld)
        for trial in data.trials
        if trial.state == "complete" and trial.name is None and trial.predicted_kld and trial.mean_kld
    ]
    if forecasts:
        known = (honesty.pairs, honesty.spearman, honesty.median_ratio, honesty.spread)
        figures["forecasts"] = predicted_against_measured(Forecasts(*known, tuple(forecasts)))
    parts = show_sensitivities(data.name, here)["sensitivities"] if record is not None else []
    if parts:
        figures["sensitivities"] = sensitivity_figure(parts)
    return {
        "data": data,
        "view": data.view,
        "best": best,
        "layers": layers,
        "honesty": honesty,
        "charts": data.figures() | {"figures": figures},
        "least_further": _least_further(data),
        "first": here.store.count_settled_trials(record.id) if record is not None else 0,
        "config": short_settings(here.places, record.config) if record is not None else {},
        "log": here.supervisor.log_tail(data.name) if (data.view["job"] or {}).get("error") else "",
    }


def _least_further(data: StudyData) -> int | None:
    """The fewest trials for each budget that continue a finished study; None for one that is not."""
    if data.view["state"] != "finished":
        return None
    counts: Mapping[str, int] = data.view["trials"]
    asked = max(data.view["target_trials"] or 0, counts["complete"] + counts["pruned"])
    return int(asked) // (len(data.report.fronts) if data.report else 1) + 1
