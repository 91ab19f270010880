"""Pictures of every page of the service, light and dark, for docs/: of a real search on the demo model.

usage: python -m tools.screenshots [--studies FOLDER] [--only PAGE ...] [--output docs/images]

Runs `layerquant search configs/behaviour.yaml` (minutes) unless FOLDER has that study finished already, serves its
folder, opens each page in Debian's Chromium and writes service-PAGE-light.png and service-PAGE-dark.png with a palette
of 256 colours. A picture above 200 kB, or with a path of this machine on its page, is an error.
"""

import argparse
import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image  # which MLflow brings
from playwright.sync_api import Browser, Page, sync_playwright

from optimizer.workplace import Workplace

ROOT = Path(__file__).resolve().parent.parent
STUDY = "behaviour"
TRIALS = 20
MOST_BYTES = 200_000
WIDTH = 1200
SECONDS = 120


@dataclass(frozen=True)
class Shot:
    """One page. `wait`: what must be there; `height`: how much of the page from its top, pixels; `click`: first."""

    name: str
    path: str
    wait: str
    height: int
    click: str | None = None


def shots(winner: int, rival: int) -> tuple[Shot, ...]:
    study = f"/studies/{STUDY}"
    return (
        Shot("studies", "/", "ul.studies", 420),
        Shot("new", f"/new?config={STUDY}", "#preview #yaml", 1180),
        Shot("study", study, "#front.drawn", 1560),
        Shot("trial", f"{study}/trials/{winner}", "#layer-types", 1500),
        Shot("answers", f"{study}/trials/{winner}", "#layer-types", 900, click="#answers-title"),
        Shot("compare", f"{study}/compare?trial={rival}&trial={winner}", "[data-figure^=difference-].drawn", 1240),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=Path, help="where the study is, or goes; by default a temporary folder")
    parser.add_argument("--only", nargs="*", help="names of pages")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    given = parser.parse_args(arguments)
    given.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.studies or Path(temporary) / "studies").resolve()
        search(folder)
        with Workplace(folder).open_store() as store:
            record = store.find_study(STUDY)
            assert record is not None
            assert record.report is not None, f"{STUDY} is not finished"
            trials = store.trials(record.id, ("complete",))
            winner = int(record.report["best"]["trial"])
            budget = store.trial(record.id, winner).budget_bytes or 0
        presets = [each for each in trials if each.origin.startswith("preset") and each.size_bytes <= budget]
        rival = min(presets, key=lambda each: each.mean_kld or 0.0).number
        wanted = [each for each in shots(winner, rival) if not given.only or each.name in given.only]
        with served(folder) as address, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            for scheme in ("light", "dark"):
                for shot in wanted:
                    path = given.output / f"service-{shot.name}-{scheme}.png"
                    picture = taken(browser, address, shot, scheme)
                    assert len(picture) <= MOST_BYTES, f"{path.name}: {len(picture)} bytes"
                    path.write_bytes(picture)
                    print(f"{path.name}: {len(picture):,} bytes", flush=True)
            browser.close()


def search(studies: Path) -> None:
    """The study, whole; nothing is done where it is finished."""
    command = ["search", str(ROOT / "configs" / f"{STUDY}.yaml"), "--studies", str(studies), "--trials", str(TRIALS)]
    subprocess.run([sys.executable, "-m", "optimizer.cli", *command], check=True, cwd=ROOT)


@contextmanager
def served(studies: Path) -> Iterator[str]:
    """The service, run in the folder above the studies', as its user would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["serve", "--port", str(port), "--studies", studies.name]
    process = subprocess.Popen([sys.executable, "-m", "optimizer.cli", *command], cwd=studies.parent)
    address = f"http://127.0.0.1:{port}"
    try:
        until_it_answers(f"{address}/api/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(60)


def until_it_answers(url: str, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def taken(browser: Browser, address: str, shot: Shot, scheme: str) -> bytes:
    """A PNG of the top of a page, or of what follows the heading that is scrolled to."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": WIDTH, "height": shot.height})  # type: ignore[arg-type]
    page.set_default_timeout(SECONDS * 1000)
    page.goto(f"{address}{shot.path}")
    page.wait_for_selector(shot.wait)
    page.wait_for_load_state("networkidle")
    if shot.click:
        page.locator(shot.click).evaluate("(each) => each.scrollIntoView()")
        page.locator("details.answer").first.evaluate("(each) => { each.open = true; }")
    check_paths(page)
    raw = page.screenshot()
    page.close()
    made = io.BytesIO()
    picture = (
        Image.open(io.BytesIO(raw)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    picture.save(made, "PNG", optimize=True)
    return made.getvalue()


def check_paths(page: Page) -> None:
    shown = page.locator("body").inner_text() + " ".join(
        field.input_value() for field in page.locator("input:visible, textarea:visible").all()
    )
    for place in (str(ROOT), str(Path.home()), tempfile.gettempdir()):
        assert place not in shown, f"{page.url} shows {place}"


if __name__ == "__main__":
    main()
