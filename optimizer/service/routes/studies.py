"""`/api/studies`: the studies of the folder, and what each has found."""

from typing import Any

from fastapi import APIRouter

from optimizer.commands.studies import status_object
from optimizer.errors import StudyError
from optimizer.service.context import Here

router = APIRouter(prefix="/studies", tags=["studies"])


@router.get("")
def list_studies(here: Here) -> dict[str, Any]:
    """Every study as `layerquant status --json` shows it."""
    return {"studies": [status_object(here.store, record) for record in here.store.studies()]}


@router.get("/{study}")
def show_study(study: str, here: Here) -> dict[str, Any]:
    """One study as `layerquant status STUDY --json` shows it."""
    return status_object(here.store, here.study(study))


@router.get("/{study}/config")
def show_config(study: str, here: Here) -> dict[str, Any]:
    """The settings that the study was started with, and the digests of the files they name."""
    return dict(here.study(study).config)


@router.get("/{study}/report")
def show_report(study: str, here: Here) -> dict[str, Any]:
    """The final table as `layerquant report STUDY --json` shows it; a conflict while the study is unfinished."""
    record = here.study(study)
    if record.report is None or record.state != "finished":
        raise StudyError(f"study {study} is not finished; resume it to get a report")
    return dict(record.report)
