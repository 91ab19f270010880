"""`/api/health`: whether the service and its database answer."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter

from optimizer.service.context import Here
from optimizer.service.shapes import Health, answers

router = APIRouter(tags=["service"])


@router.get("/health", **answers(Health))
def health(here: Here) -> dict[str, Any]:
    """Answers once the database has; asks for no token, and says nothing of the studies."""
    here.store.studies()
    return {"status": "ok", "version": version("layerquant")}
