"""Pages for people. Each takes its data from the functions behind `/api`, never by asking the service itself."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from optimizer.service.context import Here

STATIC = Path(__file__).parent / "static"

router = APIRouter(include_in_schema=False)


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A template under `templates/`, with `request` and the values; what it lacks is an error, not an empty place."""
    return HTMLResponse(templates().get_template(template).render(request=request, **values))


@router.get("/")
def index(request: Request, here: Here) -> HTMLResponse:
    return render(request, "index.html.j2")


@cache
def templates() -> Environment:
    return Environment(
        loader=PackageLoader("optimizer.service"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
