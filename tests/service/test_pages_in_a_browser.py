"""The pages in Debian's Chromium: a real server process and a real search on the demo model, launched from the page.

Whatever the browser asks of another host than this one, or says in its console as an error of ours, fails the test.
"""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from evaluators.runtime import Runtime
from evaluators.settings import RuntimeSettings
from optimizer.gguf.model_file import ModelFile
from optimizer.service.app import PLOTLY
from optimizer.service.pages import STATIC
from tests.service.browsing import chromium, context_at, watched_page

pytestmark = pytest.mark.long

REST = """\
evaluation: {ctx_size: 128, chunks: 4, report_chunks: 4, probe_chunks: 2}
baselines: {hybrids: false, variants: false}
tracking: {mlflow: none, optuna: false}
"""
LATER = 300_000
"""Milliseconds that a search may take."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("service")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "optimizer.cli", "serve", "--port", str(port), "--studies", str(folder / "studies")],
            stdout=log, stderr=log,
        )  # fmt: skip
    found = f"http://127.0.0.1:{port}"
    try:
        _until_it_answers(f"{found}/api/health")
        yield found
    finally:
        process.terminate()
        process.wait(60)


def _until_it_answers(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} never answered")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with context_at(browser, address) as context, watched_page(context) as made:
        yield made


def test_from_launch_to_a_file_that_loads(page: Page, tmp_path: Path) -> None:
    page.goto("/")
    page.get_by_role("link", name="Try the demo model").click()
    page.get_by_text("Name, sampler, pruning, more").click()
    page.get_by_label("Name of the study").fill("night")
    page.get_by_label("Further settings").fill(REST)
    page.get_by_label("Trials").fill("40")
    expect(page.locator("#yaml")).to_contain_text("ctx_size: 128")
    expect(page.locator("#yaml")).to_contain_text("trials: 40")
    expect(page.locator("#command")).to_contain_text("--study night")
    expect(page.locator("#preview")).to_contain_text("Possible: 2.27 MB")
    page.get_by_role("button", name="Launch the search").click()
    page.wait_for_url("**/studies/night")

    page.evaluate("window.stayed = true")
    rows = page.locator("#live tbody tr")
    expect(rows.nth(1)).to_be_attached(timeout=LATER)
    first = rows.count()
    expect(rows.nth(first)).to_be_attached(timeout=LATER)
    assert page.evaluate("window.stayed") is True  # they came without a reload

    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#headline .state")).to_have_text("paused", timeout=LATER)
    assert page.evaluate("window.stayed") is True
    assert rows.count() < 40
    page.get_by_role("button", name="Resume").click()
    expect(page.locator("#headline .state")).to_have_text("finished", timeout=2 * LATER)
    expect(page.locator(".eyebrow")).to_have_text("Winner")
    expect(page.locator(".winner-card .verdict").first).to_contain_text("On text never searched")

    number = page.locator("#open-best").inner_text().split()[1].rstrip(",")
    _click_the_star(page)
    page.wait_for_url(f"**/studies/night/trials/{number}")
    page.get_by_role("button", name="Copy LAYER_TYPES").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.locator("#layer-types").text_content()
    assert re.search(r"\[0,", copied.replace(" ", ""))

    page.get_by_role("button", name="Write the GGUF").click()
    with page.expect_download() as started:
        page.locator("#download").click(timeout=LATER)
    file = tmp_path / "winner.gguf"
    started.value.save_as(file)
    assert ModelFile.open(file).n_layer == 8
    with Runtime([file], RuntimeSettings(ctx_size=32, batch_size=32, threads=1)) as runtime:
        logits = np.concatenate([each.logits.copy() for each in runtime.decode(np.arange(32, dtype=np.int32), [0])])
    assert np.isfinite(logits).all()


def _click_the_star(page: Page) -> None:
    """The last trace's marker, as Plotly has put it."""
    star = page.locator("#front .scatterlayer .trace").last.locator("path.point")
    star.scroll_into_view_if_needed()
    box = star.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def test_every_page_in_light_dark_and_on_a_phone(browser: Browser, address: str, page: Page) -> None:
    """Nothing is wider than the screen, everything is reached by Tab, and nothing moves once the page is there."""
    page.goto("/")
    for path in (
        "/",
        "/new?config=demo",
        "/studies/night",
        "/studies/night/trials/0",
        "/studies/night/compare?trial=0&trial=1",
    ):
        for width in (390, 1200):
            page.set_viewport_size({"width": width, "height": 844})
            page.goto(path)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
            page.keyboard.press("Tab")
            assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.emulate_media(color_scheme="dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
        page.emulate_media(color_scheme="light")


def test_charts_do_not_move_what_stands_below(page: Page) -> None:
    page.goto("/studies/night")
    page.wait_for_load_state("networkidle")
    moved = page.evaluate(
        "new Promise((done) => new PerformanceObserver((list) => done(list.getEntries().reduce((sum, each) =>"
        " sum + each.value, 0))).observe({type: 'layout-shift', buffered: true}) || setTimeout(() => done(0), 500))"
    )
    assert moved < 0.1  # what web.dev's Cumulative Layout Shift calls good


def test_trials_are_compared_by_keyboard_alone(page: Page) -> None:
    page.goto("/studies/night")
    for number in (0, 1):
        page.get_by_label(f"compare trial {number}", exact=True).focus()
        page.keyboard.press("Space")
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/compare?trial=0&trial=1")
    expect(page.locator("table.compare thead th")).to_have_count(3)
    expect(page.locator("[data-figure^=difference-].drawn")).to_have_count(1)


def test_plotly_s_rules_are_the_file_s(browser: Browser) -> None:
    """Plotly would add them by script; a newer Plotly with other rules must not go unseen."""
    page = browser.new_page()
    page.set_content("<html><body></body></html>")
    page.add_script_tag(path=PLOTLY)
    rules = page.evaluate(
        "[...document.getElementById('plotly.js-style-global').sheet.cssRules].reverse().map((rule) => rule.cssText)"
    )
    page.close()
    assert "\n".join(rules) + "\n" == (STATIC / "plotly.css").read_text()
