"""A finished study from the keyboard alone, on a phone's width: continued, followed elsewhere, deleted."""

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect

from optimizer.service.app import make_app
from optimizer.service.server import Server
from optimizer.service.settings import ServiceSettings
from optimizer.workplace import Workplace
from tests.service.browsing import chromium, context_at, watched_page

pytestmark = pytest.mark.long

PHONE = {"width": 390, "height": 844}
UNTIL_STOPPED = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
time.sleep(600)
"""


class OtherServers(BaseHTTPRequestHandler):
    """MLflow and optuna-dashboard in one, which have every study, and a page for whoever follows a link."""

    def do_GET(self) -> None:
        if self.path.startswith("/api/studies"):
            self._say(b'{"study_summaries": [{"study_id": 7, "study_name": "study"}]}')
        elif self.path.startswith("/api/2.0/mlflow"):
            self._say(b'{"experiment": {"experiment_id": "3"}}')
        else:
            self._say(b"<title>another server</title>", "text/html")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(b'{"runs": [{"info": {"run_id": "ab12"}}]}')

    def _say(self, answer: bytes, kind: str = "application/json") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OtherServers) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def address(finished: Path, elsewhere: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service over a copy of `study`; its searches wait until they are stopped."""
    studies = tmp_path_factory.mktemp("copy") / "studies"
    shutil.copytree(finished / "studies", studies)
    program = (sys.executable, "-c", UNTIL_STOPPED)
    settings = ServiceSettings(
        Workplace(studies), (finished,), mlflow=elsewhere, optuna_dashboard=elsewhere, program=program
    )
    server = Server(uvicorn.Config(make_app(settings), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < until, "it never started"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with context_at(browser, address) as context, watched_page(context) as made:
        made.set_viewport_size(PHONE)
        made.goto("/studies/study")
        made.wait_for_load_state("networkidle")
        yield made


def tab_to(page: Page, text: str, presses: int = 60) -> None:
    """The Tab key, until what has the focus begins with these words."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        focused = page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent.trim()")
        if focused.startswith(text):
            return
    raise AssertionError(f"{text} is not reached by Tab")


def nothing_is_wider_than(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


@pytest.mark.parametrize("name", ["MLflow", "optuna-dashboard"])
def test_links_to_other_servers(page: Page, elsewhere: str, name: str) -> None:
    expect(page.get_by_role("link", name=name)).to_be_visible()
    assert nothing_is_wider_than(page)
    tab_to(page, name)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{elsewhere}/**")
    expect(page).to_have_title("another server")


def test_a_finished_study_is_searched_further_and_stopped(page: Page) -> None:
    tab_to(page, "Search further")
    page.keyboard.press("Enter")
    tab_to(page, "Trials in all", 1)
    page.keyboard.press("Control+A")
    page.keyboard.type("50")
    assert nothing_is_wider_than(page)
    tab_to(page, "Hours at most", 1)
    page.keyboard.type("2")
    tab_to(page, "Search further", 1)
    page.keyboard.press("Enter")
    expect(page.locator("#headline .state")).to_have_text("starting")
    assert nothing_is_wider_than(page)
    job = page.evaluate("fetch('/api/studies/study').then((answer) => answer.json())")["job"]
    assert " resume study --trials 50 --hours 2.0 " in job["command"]
    assert page.get_by_role("button", name="Delete…").count() == 0

    tab_to(page, "Stop")
    page.keyboard.press("Enter")
    expect(page.locator("#headline .state")).to_have_text("finished")


def test_a_study_is_deleted_after_a_second_word(page: Page) -> None:
    dialog = page.get_by_role("dialog", name="Delete study?")
    tab_to(page, "Delete…")
    page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    assert nothing_is_wider_than(page)
    box = dialog.bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE["width"]
    assert page.evaluate("document.activeElement.textContent") == "Keep it"  # Enter does no harm
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Delete…"
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert page.evaluate("fetch('/api/studies/study').then((answer) => answer.status)") == 200

    page.keyboard.press("Enter")
    tab_to(page, "Delete the study", 1)
    page.keyboard.press("Enter")
    page.wait_for_url("**/")
    expect(page.locator("ul.studies > li")).to_have_count(0)
    assert page.evaluate("fetch('/api/studies').then((answer) => answer.json())") == {"studies": []}
