"""`/api/studies/STUDY/exports`: a trial taken home, as text at once, as a GGUF by a job of its own."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from optimizer.commands.handover import chosen_trial, handover_text, open_handover
from optimizer.errors import StudyError
from optimizer.service import launching
from optimizer.service.audit import who
from optimizer.service.context import Here
from optimizer.service.problems import NotFound
from optimizer.service.shapes import Exports, Job, answers

router = APIRouter(prefix="/studies/{study}/exports", tags=["exports"])
TextForm = Literal["layer-types", "tensor-type-file", "command", "card"]
FOLDER = "exports"


class NewExport(BaseModel):
    """`trial`: by default the winner."""

    model_config = ConfigDict(extra="forbid")
    trial: Annotated[int | None, Field(ge=0, le=2**31 - 1)] = None


@router.get("", **answers(Exports))
def list_exports(study: str, here: Here) -> dict[str, Any]:
    """The study's GGUFs: those being written, those that are there, those that failed."""
    here.study(study)
    jobs = [job for job in here.supervisor.jobs() if job.study == study and job.kind == "export"]
    return {"exports": [job.as_json() for job in jobs]}


@router.post("/gguf", **answers(Job, 202))
def export_gguf(study: str, request: Request, here: Here, body: NewExport | None = None) -> dict[str, Any]:
    """Queues the writing of one file; download it when its job has ended."""
    record = here.study(study)
    trial = chosen_trial(here.store, record, None if body is None else body.trial)
    name = f"{record.name}-trial{trial.number}.gguf"
    output = (here.settings.workplace.study_folder(record.name) / FOLDER / name).resolve()
    arguments = ["export", record.name, "--as", "gguf", "--trial", str(trial.number), "-o", str(output)]
    here.audit.write(who(request), "export", study=study, trial=trial.number)
    job = here.supervisor.submit("export", record.name, [*arguments, *launching.where(here)], who(request), output)
    return job.as_json()


@router.get("/{form}/text", response_class=PlainTextResponse)
def export_text(
    study: str, form: TextForm, here: Here, trial: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None
) -> Response:
    """What `layerquant export STUDY --as FORM` prints."""
    record = here.study(study)
    with here.planning:
        found = open_handover(here.store, record, trial, here.settings.workplace)
        return PlainTextResponse(handover_text(found, form))


@router.get(
    "/files/{name}", response_class=FileResponse, responses={200: {"content": {"application/octet-stream": {}}}}
)
def download(study: str, name: str, here: Here) -> Response:
    """A GGUF that is there, whole."""
    here.study(study)
    job = next(
        (job for job in reversed(here.supervisor.jobs()) if job.study == study and job.as_json()["file"] == name), None
    )
    if job is None or job.output is None:
        raise NotFound(f"study {study} has no export {name}")
    if job.state != "ended" or job.error is not None:
        raise StudyError(f"{name} is not there: {job.error or job.state}")
    folder = (here.settings.workplace.study_folder(study) / FOLDER).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder) or not path.is_file():
        raise NotFound(f"{name} is no longer there; export it again")
    return FileResponse(path, media_type="application/octet-stream", filename=name)
