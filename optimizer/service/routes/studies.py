"""`/api/studies`: launch, watch, stop and delete studies."""

import shutil
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from optimizer.commands.report_pages import page_of_report
from optimizer.errors import ConfigError, StudyError
from optimizer.service import launching
from optimizer.service.audit import who
from optimizer.service.context import Here, Service
from optimizer.service.shapes import Deleted, Log, Report, Studies, Study, answers
from optimizer.store import StudyRecord

router = APIRouter(prefix="/studies", tags=["studies"])


class NewStudy(BaseModel):
    """Settings of a search: as an object, or as the text of a file under configs/. One of both."""

    model_config = ConfigDict(extra="forbid")
    config: dict[str, JsonValue] | None = None
    yaml: str | None = None


class Stop(BaseModel):
    model_config = ConfigDict(extra="forbid")
    at_once: bool = Field(default=False, description="the second Ctrl-C: the evaluation under way is lost")


class Resume(BaseModel):
    model_config = ConfigDict(extra="forbid")
    trials: Annotated[int | None, Field(ge=1, le=10**6, description="a larger number continues a finished study")] = (
        None
    )
    hours: Annotated[float | None, Field(gt=0, le=10**5)] = None


@router.get("", **answers(Studies))
def list_studies(here: Here) -> dict[str, Any]:
    """Every study as `layerquant status --json` shows it, and as `job` what the service last ran for it."""
    return {"studies": here.views()}


@router.post("", **answers(Study, 201))
def create_study(body: NewStudy, request: Request, here: Here) -> dict[str, Any]:
    """Checks and plans the settings, and queues the search; it starts when no other runs."""
    if (body.config is None) == (body.yaml is None):
        raise ConfigError("give the settings either as `config` or as `yaml`")
    tree: dict[str, Any] = dict(body.config or {}) if body.yaml is None else launching.read_settings(body.yaml)
    return here.view(launching.launch(here, tree, who(request)).study)


@router.get("/{study}", **answers(Study))
def show_study(study: str, here: Here) -> dict[str, Any]:
    """One study."""
    return here.view(study)


@router.post("/{study}/stop", **answers(Study))
def stop_study(study: str, request: Request, here: Here, body: Stop | None = None) -> dict[str, Any]:
    """Ctrl-C for its search: it ends after the evaluation under way, and everything measured is kept."""
    here.view(study)
    at_once = body is not None and body.at_once
    here.audit.write(who(request), "stop", study=study, at_once=at_once)
    stopped = here.supervisor.stop(study, at_once=at_once)
    return here.view(study) | {"stop_requested": stopped}


@router.post("/{study}/resume", **answers(Study, 202))
def resume_study(study: str, request: Request, here: Here, body: Resume | None = None) -> dict[str, Any]:
    """Queues it again, with the settings that it was started with."""
    wanted = body or Resume()
    launching.resume(here, study, who(request), trials=wanted.trials, hours=wanted.hours)
    return here.view(study)


@router.delete("/{study}", **answers(Deleted))
def delete_study(study: str, request: Request, here: Here) -> dict[str, Any]:
    """Its trials, report, log and exports go; shards, references and evaluations stay for other studies."""
    here.view(study)
    here.supervisor.check_free(study)
    if any(job.study == study and job.state != "ended" for job in here.supervisor.jobs()):
        raise StudyError(f"an export of study {study} is being written; delete it when that has ended")
    here.audit.write(who(request), "delete", study=study)
    record = here.store.find_study(study)
    if record is not None:
        here.store.delete_study(record.id)
    here.supervisor.forget(study)
    if launching.STUDY_NAME.fullmatch(study) and study not in launching.RESERVED:
        shutil.rmtree(here.settings.workplace.study_folder(study), ignore_errors=True)
    return {"deleted": study}


@router.get("/{study}/config")
def show_config(study: str, here: Here) -> dict[str, Any]:
    """The settings that the study was started with, and the digests of the files they name."""
    return dict(here.study(study).config)


@router.get("/{study}/report", **answers(Report))
def show_report(study: str, here: Here) -> dict[str, Any]:
    """The final table as `layerquant report STUDY --json` shows it; a conflict while the study is unfinished."""
    return dict(_finished(here, study).report or {})


@router.get("/{study}/report/page", response_class=HTMLResponse)
def download_report(study: str, here: Here) -> Response:
    """The page that `layerquant report STUDY --html FILE` writes, to be kept as a file."""
    record = _finished(here, study)
    name = quote(f"{study}-report.html", safe="")
    return HTMLResponse(
        page_of_report(here.store, record),
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


@router.get("/{study}/log", **answers(Log))
def show_log(study: str, here: Here) -> dict[str, Any]:
    """The last lines that its search wrote."""
    here.view(study)
    return {"log": here.supervisor.log_tail(study)}


def _finished(here: Service, study: str) -> StudyRecord:
    record = here.study(study)
    if record.report is None or record.state != "finished":
        raise StudyError(f"study {study} is not finished; resume it to get a report")
    return record
