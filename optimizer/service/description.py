"""`/openapi.json`: FastAPI's, with errors as the problems (RFC 9457) that they are."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from optimizer.service.problems import PROBLEM

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457; `detail` is the message that the command would print.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
_EVERYWHERE = {
    HTTPStatus.UNAUTHORIZED: "the token is missing or wrong, where the service has one",
    HTTPStatus.FORBIDDEN: "another site's page asks, or a file lies outside the service's folders",
    HTTPStatus.MISDIRECTED_REQUEST: "the Host is no name of this service",
    HTTPStatus.SERVICE_UNAVAILABLE: "the database or the disk does not answer",
}
_WITH_PARAMETERS = {
    HTTPStatus.BAD_REQUEST: "an input that the command would refuse with exit code 2",
    HTTPStatus.NOT_FOUND: "no such study, trial, prompt, model or file",
    HTTPStatus.CONFLICT: "not as things stand: a study that is at work, unfinished, or there already",
    HTTPStatus.UNPROCESSABLE_ENTITY: "a parameter or a body of another form",
    HTTPStatus.BAD_GATEWAY: "the hub of an hf:// name does not answer, or refuses",
}
_WITH_BODY = {
    HTTPStatus.LENGTH_REQUIRED: "a body without Content-Length",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a body of more than the service takes",
}


def describe(app: FastAPI) -> None:
    """Makes `app.openapi()` say how operations fail, too."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            _add_problems(plain())
        return plain()

    app.openapi = described  # type: ignore[method-assign]  # how FastAPI wants its schema extended


def _add_problems(schema: dict[str, Any]) -> None:
    components = schema.setdefault("components", {})
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which are not sent
        components.get("schemas", {}).pop(name, None)
    components.setdefault("schemas", {})["Problem"] = _PROBLEM_SCHEMA
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    statuses = _EVERYWHERE | _WITH_PARAMETERS | _WITH_BODY
    components["responses"] = {
        status.name: {"description": what, "content": content} for status, what in statuses.items()
    }
    for methods in schema["paths"].values():
        for operation in methods.values():
            _name_shapes(operation["responses"])
            has_parameters = "parameters" in operation or "requestBody" in operation
            wanted = _EVERYWHERE | (_WITH_PARAMETERS if has_parameters else {})
            wanted |= _WITH_BODY if "requestBody" in operation else {}
            for status in wanted:
                operation["responses"][str(int(status))] = {"$ref": f"#/components/responses/{status.name}"}


def _name_shapes(responses: dict[str, Any]) -> None:
    """Of an answer with a shape that shape alone, without what FastAPI says of any object beside it."""
    for response in responses.values():
        found = response.get("content", {}).get("application/json", {})
        if "$ref" in found.get("schema", {}):
            found["schema"] = {"$ref": found["schema"]["$ref"]}
