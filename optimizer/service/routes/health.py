"""`/api/health`: whether the service and its database answer; `/api/doctor`: what its machine is like."""

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter

from optimizer.doctor import examine
from optimizer.service.context import Here
from optimizer.service.shapes import Checks, Health, answers

router = APIRouter(tags=["service"])


@router.get("/health", **answers(Health))
def health(here: Here) -> dict[str, Any]:
    """Answers once the database has; asks for no token, and says nothing of the studies."""
    here.store.studies()
    return {"status": "ok", "version": version("layerquant")}


@router.get("/doctor", **answers(Checks))
def examine_machine(here: Here) -> dict[str, Any]:
    """`layerquant doctor --json` of the machine that searches run on."""
    return {"checks": [asdict(check) for check in examine(here.settings.workplace.studies)]}
