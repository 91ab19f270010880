"""`/docs`: the OpenAPI description as a page of our own, for the usual one is fetched from elsewhere."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from optimizer.service.context import Here
from optimizer.service.pages import render

router = APIRouter(include_in_schema=False)


@router.get("/docs")
def docs(request: Request, here: Here) -> HTMLResponse:
    return render(request, "docs.html.j2", operations=operations(request.app.openapi()))


def operations(openapi: dict[str, Any]) -> list[dict[str, Any]]:
    """Every operation: method, path, summary, description, parameters, and the schema of its body by name."""
    found = []
    for path, methods in openapi["paths"].items():
        for method, each in methods.items():
            content = each.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            references = [content, *content.get("anyOf", [])]
            body = next((str(one["$ref"]).rpartition("/")[2] for one in references if "$ref" in one), None)
            fields = openapi.get("components", {}).get("schemas", {}).get(body, {}).get("properties", {})
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "tag": (each.get("tags") or [""])[0],
                    "description": each.get("description", ""),
                    "parameters": each.get("parameters", []),
                    "body": {name: field.get("description", "") for name, field in fields.items()},
                }
            )
    return found
