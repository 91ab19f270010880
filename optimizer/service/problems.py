"""Errors as problem JSON (RFC 9457): the project's own with their message, all others without their insides."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from evaluators.errors import EvaluationError
from optimizer.errors import DownloadError, InputError, LayerquantError, StorageError, StudyError

PROBLEM = "application/problem+json"
LOGGER = logging.getLogger("layerquant.service")


class NotFound(LayerquantError):
    """A study, trial, model or file that the service does not have."""


class Refused(LayerquantError):
    """Something that this service does not do, such as opening a file outside its folders."""


_STATUS: tuple[tuple[type[Exception], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Refused, HTTPStatus.FORBIDDEN),
    (InputError, HTTPStatus.BAD_REQUEST),
    (StudyError, HTTPStatus.CONFLICT),
    (DownloadError, HTTPStatus.BAD_GATEWAY),
    (StorageError, HTTPStatus.SERVICE_UNAVAILABLE),
    (LayerquantError, HTTPStatus.SERVICE_UNAVAILABLE),
    (EvaluationError, HTTPStatus.BAD_REQUEST),
)


def status_of(error: Exception) -> HTTPStatus:
    """The HTTP status of one of the project's errors."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def problem(status: int, detail: str, **more: Any) -> Response:
    """One problem; `more` are further members of it."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": detail}
    return JSONResponse(content | more, status_code=int(status), media_type=PROBLEM)


def add_problem_handlers(app: FastAPI) -> None:
    """Makes every error of the app's handlers a problem."""

    @app.exception_handler(LayerquantError)
    @app.exception_handler(EvaluationError)
    async def of_project(request: Request, error: Exception) -> Response:
        return problem(status_of(error), str(error))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> Response:
        answer = problem(error.status_code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def of_request(request: Request, error: RequestValidationError) -> Response:
        found = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
        return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(found))

    @app.exception_handler(Exception)
    async def of_anything(request: Request, error: Exception) -> Response:
        LOGGER.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log on this machine says why")
