"""Who may ask: the token itself, or a cookie that proves that it was known. Compared in constant time."""

import hashlib
import hmac
import time
from http.cookies import CookieError, SimpleCookie

COOKIE = "layerquant_session"
SESSION_SECONDS = 30 * 24 * 3600


def same_token(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(), token.encode())


def new_session(token: str, now: float | None = None) -> str:
    """A cookie's value: when it ends, and a code that only who knows the token can make. A new token ends them all."""
    ends = int((time.time() if now is None else now) + SESSION_SECONDS)
    return f"{ends}.{_code(token, ends)}"


def is_session(value: str, token: str, now: float | None = None) -> bool:
    """Whether a cookie's value was made with this token and has not ended."""
    ends, _, code = value.partition(".")
    if not (ends.isascii() and ends.isdigit() and len(ends) < 16):
        return False
    made_here = hmac.compare_digest(code.encode(), _code(token, int(ends)).encode())
    return made_here and int(ends) > (time.time() if now is None else now)


def session_cookie(header: str) -> str | None:
    """The session in a Cookie header."""
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return None if found is None else found.value


def _code(token: str, ends: int) -> str:
    return hmac.new(token.encode(), f"layerquant session {ends}".encode(), hashlib.sha256).hexdigest()
