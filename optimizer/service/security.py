"""What is asked of every request before any handler sees it, and what every answer carries.

A browser on this machine may show a stranger's page: so a request's Host must be a name of ours (DNS rebinding), an
unsafe method must come from our own pages (CSRF), and answers say that nobody may frame or sniff them.
"""

from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from optimizer.service.problems import problem
from optimizer.service.session import is_session, same_token, session_cookie
from optimizer.service.settings import ServiceSettings

OPEN_PATHS = ("/static/", "/api/health", "/login")
"""Asked without the token: what a login page needs, and whether the service lives."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN_SITES = ("same-origin", "none")
ANSWER_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: a form's Origin would then be null, and the check below would refuse our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """An ASGI layer around the application."""

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app, self._settings = app, settings
        self._names = {"localhost", settings.host.lower(), *(name.lower() for name in settings.names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers, path, method = Headers(scope=scope), str(scope["path"]), str(scope["method"])

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                found = MutableHeaders(scope=message)
                for name, value in ANSWER_HEADERS.items():
                    found.setdefault(name, value)
                found.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refusal(headers, path, method)
        if refused is None:
            await self._app(scope, receive, answer)
            return
        status, detail = refused
        response = problem(status, detail)
        if status is HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
            if "text/html" in headers.get("accept", "") and method == "GET":
                response.status_code = HTTPStatus.SEE_OTHER
                response.headers["Location"] = "/login"
        await response(scope, receive, answer)

    def _refusal(self, headers: Headers, path: str, method: str) -> tuple[HTTPStatus, str] | None:
        host = headers.get("host", "")
        if not self._is_ours(host):
            return HTTPStatus.MISDIRECTED_REQUEST, (
                f"this service is not called {host!r:.80}; ask it by its address, or start it with --name"
            )
        token, cookie = self._settings.token, False
        if token is not None and not path.startswith(OPEN_PATHS):
            given = headers.get("authorization", "")
            cookie = not given
            if not (same_token(given, f"Bearer {token}") or (cookie and self._has_session(headers, token))):
                return HTTPStatus.UNAUTHORIZED, "the token is missing or wrong; send it as Authorization: Bearer TOKEN"
        if method not in SAFE_METHODS and not _own_origin(headers, host, required=cookie):
            return HTTPStatus.FORBIDDEN, "this request comes from another site's page"
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or int(length) > self._settings.max_body_bytes:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {self._settings.max_body_bytes:,} bytes are taken"
        if method not in SAFE_METHODS and "transfer-encoding" in headers:
            return HTTPStatus.LENGTH_REQUIRED, "send the body whole, with its Content-Length"
        return None

    def _is_ours(self, host: str) -> bool:
        """A name of ours, or an address: nobody can make an address lead elsewhere, as they can a name."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    @staticmethod
    def _has_session(headers: Headers, token: str) -> bool:
        value = session_cookie(headers.get("cookie", ""))
        return value is not None and is_session(value, token)


def _own_origin(headers: Headers, host: str, *, required: bool) -> bool:
    """Whether a request comes from our pages, or from no page at all.

    required: a browser's cookie speaks for it, so it must say where it comes from.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None and site not in OWN_SITES:
        return False
    if origin is not None:
        try:
            return urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False
    return site is not None or not required
