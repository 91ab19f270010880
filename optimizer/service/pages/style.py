"""`/static/report.css`: the report's own style, which the pages build on, so that answers look the same everywhere."""

from functools import cache

from fastapi import APIRouter, Response

from optimizer.export.page_templates import page_templates

router = APIRouter(include_in_schema=False)


@router.get("/static/report.css")
def style() -> Response:
    return Response(_text(), media_type="text/css", headers={"Cache-Control": "no-cache"})


@cache
def _text() -> str:
    names = ("page.css.j2", "answers.css.j2")
    return "\n".join(page_templates().get_template(name).render() for name in names)
