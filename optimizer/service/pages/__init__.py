"""Pages for people. Each takes its data from the functions behind `/api`, never by asking the service itself."""

from fastapi import APIRouter

from optimizer.service.pages import compare, launch, listing, study, style, trial
from optimizer.service.pages.rendering import STATIC, render

router = APIRouter(include_in_schema=False)
for _part in (style, listing, launch, compare, trial, study):
    router.include_router(_part.router)

__all__ = ["STATIC", "render", "router"]
