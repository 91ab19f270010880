"""A whole search on PostgreSQL, with the server away in the middle: the same trials as on SQLite, undisturbed."""

import threading
import time
from pathlib import Path

import pytest

from optimizer.workplace import Workplace
from tests.postgres import PrivateServer
from tests.proxy import Proxy
from tests.search.searches import Search, prepare

pytestmark = pytest.mark.long


def test_a_search_pauses_and_goes_on(server: PrivateServer, tmp_path: Path) -> None:
    plan = prepare(tmp_path, trials=20)
    undisturbed = Search(tmp_path / "sqlite", plan)
    undisturbed.run()
    with Proxy(server.port) as proxy:
        search = Search(tmp_path / "postgresql", plan)
        search.workplace = Workplace(tmp_path / "postgresql" / "studies", server.new_database(port=proxy.port))
        outages = threading.Thread(target=_outages, args=(search, proxy))
        outages.start()
        outcome = search.run()
        outages.join()
        assert outcome.finished
        assert search.trials() == undisturbed.trials()
        assert search.scored == undisturbed.scored
    said = [line for line in search.reporter.lines if "Waiting for it" in line or "answers again" in line]
    assert len(said) >= 2


def _outages(search: Search, proxy: Proxy) -> None:
    """Once some recipes were scored, the server is away for a second, right after a commit whose answer is lost."""
    deadline = time.monotonic() + 60
    while search.scored < 30 and time.monotonic() < deadline:
        time.sleep(0.01)
    proxy.then = Proxy.cut
    proxy.lose_answer(b"COMMIT")
    while proxy.lost == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(1.0)
    proxy.mend()
