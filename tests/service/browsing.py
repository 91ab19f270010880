"""Debian's Chromium for tests: whatever a page asks of another host, or says in its console as an error, fails."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SOON = 60_000
"""Milliseconds that a page may take on a busy machine."""


@contextmanager
def chromium() -> Iterator[Browser]:
    assert CHROMIUM is not None, "apt install chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@contextmanager
def context_at(browser: Browser, address: str) -> Iterator[BrowserContext]:
    made = browser.new_context(base_url=address, accept_downloads=True)
    made.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
    made.set_default_timeout(SOON)
    made.set_default_navigation_timeout(SOON)
    yield made
    made.close()


@contextmanager
def watched_page(context: BrowserContext) -> Iterator[Page]:
    elsewhere: list[str] = []
    wrong: list[str] = []

    def look(url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            elsewhere.append(url)

    context.on("request", lambda request: look(request.url))
    made = context.new_page()
    made.on("pageerror", lambda error: wrong.append(str(error)))
    made.on("console", lambda said: wrong.append(said.text) if said.type == "error" and _ours(said.text) else None)
    yield made
    assert elsewhere == []
    assert wrong == []


def _ours(text: str) -> bool:
    """Not Plotly's styles by attribute, which the policy refuses and its charts do without; nor what a newer request of
    htmx replaced. An answer that failed has a line of the browser's own."""
    return "Applying inline style" not in text and not text.startswith(("htmx:afterRequest", "htmx:sendAbort"))
