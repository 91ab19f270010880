"""Templates, and a route whose errors are pages: people get no problem JSON."""

import json
from collections.abc import Callable, Coroutine
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from evaluators.errors import EvaluationError
from optimizer.errors import LayerquantError
from optimizer.export.page_templates import page_templates
from optimizer.search.at_work import AtWork
from optimizer.service.problems import status_of

STATIC = Path(__file__).parent.parent / "static"


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A template under `templates/`, with `request` and the values; what it lacks is an error, not an empty place."""
    return HTMLResponse(templates().get_template(template).render(request=request, **values))


class Page(APIRoute):
    """A route that answers with a page, or with a page that says what went wrong and where to go on."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_page(request: Request) -> Response:
            try:
                return await handle(request)
            except (LayerquantError, EvaluationError) as error:
                return _failed(request, status_of(error), str(error))
            except RequestValidationError:
                return _failed(request, HTTPStatus.NOT_FOUND, "there is no such page")

        return handle_as_page


def _failed(request: Request, status: HTTPStatus, detail: str) -> Response:
    """A fragment that htmx asked for is shown in its place, so it is answered with 200."""
    if "hx-request" in request.headers:
        return render(request, "failed_part.html.j2", detail=detail)
    page = render(request, "failed.html.j2", status=status, detail=detail)
    page.status_code = status
    return page


def page_router() -> APIRouter:
    return APIRouter(include_in_schema=False, route_class=Page)


def script_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def duration_text(seconds: float | None) -> str:
    """`3 h 20 min`, `40 s`; empty where nothing is known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def at_work_text(found: dict[str, int]) -> str:
    """`16 evaluators on 3 machines`."""
    return str(AtWork(**found))


@cache
def templates() -> Environment:
    """Ours, and the report's, whose parts show answers here as they do there."""
    report = page_templates()
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("optimizer.service"), PackageLoader("optimizer.export")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= report.globals
    environment.filters |= report.filters | {
        "script_json": script_json,
        "duration": duration_text,
        "at_work": at_work_text,
    }
    return environment
