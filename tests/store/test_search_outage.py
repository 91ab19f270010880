"""Whole commands on PostgreSQL, with the server away in the middle: the same results as on SQLite, undisturbed.

LAYERQUANT_OUTAGE_SECONDS=125 makes the outages that long, past the end of a search's lease.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.progress import SilentReporter
from optimizer.search.probe_run import probe_only
from optimizer.workplace import Workplace
from tests.postgres import PrivateServer
from tests.proxy import Proxy
from tests.search.searches import Search, prepare

pytestmark = pytest.mark.long

OUTAGE_SECONDS = float(os.environ.get("LAYERQUANT_OUTAGE_SECONDS", "1"))


def test_a_search_pauses_and_goes_on(server: PrivateServer, tmp_path: Path) -> None:
    plan = prepare(tmp_path, trials=20)
    undisturbed = Search(tmp_path / "sqlite", plan)
    undisturbed.run()
    with Proxy(server.port) as proxy:
        search = Search(tmp_path / "postgresql", plan)
        search.workplace = Workplace(tmp_path / "postgresql" / "studies", server.new_database(port=proxy.port))
        with _outage(proxy, lambda: search.scored >= 30, search.reporter):
            outcome = search.run()
        assert outcome.finished
        assert search.trials() == undisturbed.trials()
        assert search.scored == undisturbed.scored
    assert "answers again" in "".join(search.reporter.lines)


def test_probes_pause_and_go_on(server: PrivateServer, tmp_path: Path) -> None:
    plan = prepare(tmp_path)
    made: list[FakeEvaluator] = []

    def make(settings: RuntimeSettings) -> FakeEvaluator:
        made.append(FakeEvaluator(settings))
        return made[-1]

    undisturbed = probe_only(plan, Workplace(tmp_path / "sqlite"), SilentReporter(), evaluator_factory=make)
    reporter = SilentReporter()
    with Proxy(server.port) as proxy:
        workplace = Workplace(tmp_path / "postgresql", server.new_database(port=proxy.port))
        with _outage(proxy, lambda: len(made) == 2 and len(made[1].scored) >= 5, reporter):
            outcome = probe_only(plan, workplace, reporter, evaluator_factory=make)
    assert outcome.rows == undisturbed.rows
    assert len(made[0].scored) == len(made[1].scored)
    assert "answers again" in "".join(reporter.lines)


@contextmanager
def _outage(proxy: Proxy, begins: Callable[[], bool], reporter: SilentReporter) -> Iterator[None]:
    """Once `begins`, the server is away, right after a commit whose answer is lost, until that was noticed at least."""
    noticed: list[bool] = []

    def away() -> None:
        deadline = time.monotonic() + 60
        while not begins() and time.monotonic() < deadline:
            time.sleep(0.01)
        proxy.then = Proxy.cut
        proxy.lose_answer(b"COMMIT")
        while proxy.lost == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(OUTAGE_SECONDS)
        while not any("Waiting for it" in line for line in reporter.lines) and time.monotonic() < deadline:
            time.sleep(0.01)
        noticed.append(proxy.lost == 1 and any("Waiting for it" in line for line in reporter.lines))
        proxy.mend()

    thread = threading.Thread(target=away)
    thread.start()
    yield
    thread.join()
    assert noticed == [True]
