"""`/login`: the token typed once, for browsers; it becomes a cookie that scripts cannot read."""

from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from optimizer.service.context import Here
from optimizer.service.pages import render
from optimizer.service.session import COOKIE, SESSION_SECONDS, new_session, same_token

router = APIRouter(include_in_schema=False)


@router.get("/login")
def ask(request: Request, here: Here) -> Response:
    if here.settings.token is None:
        return RedirectResponse("/", HTTPStatus.SEE_OTHER)
    return render(request, "login.html.j2", wrong=False)


@router.post("/login")
async def enter(request: Request, here: Here) -> Response:
    given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0].strip()
    token = here.settings.token
    if token is None or not same_token(given, token):
        page: HTMLResponse = render(request, "login.html.j2", wrong=True)
        page.status_code = HTTPStatus.UNAUTHORIZED
        return page
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        COOKIE, new_session(token), max_age=SESSION_SECONDS, httponly=True, samesite="strict",
        secure=request.url.scheme == "https",
    )  # fmt: skip
    return answer
