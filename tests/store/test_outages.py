"""A server that goes away pauses a search; nothing is written twice, and nothing that was written is lost."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from optimizer.errors import StorageError, StudyError
from optimizer.store import LeaseKeeper, NewEvent, Store, limited_connection
from tests.postgres import PASSWORD, PrivateServer
from tests.proxy import Proxy
from tests.store.studies import Fixture, new_study

pytestmark = pytest.mark.long


@pytest.fixture
def proxy(server: PrivateServer) -> Iterator[Proxy]:
    with Proxy(server.port) as forwarding:
        yield forwarding


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def study(server: PrivateServer, proxy: Proxy, said: list[str]) -> Iterator[Fixture]:
    with Store.open(server.new_database(port=proxy.port)) as store:
        store.wait_when_away(60, said.append)
        yield new_study(store)


def _claim(study: Fixture) -> None:
    assert study.store.claim("mlflow", 60) is not None


def _take(study: Fixture) -> None:
    study.lease = study.store.acquire_lease(study.store.create_study("late", 1, {}, seed=1).id, 60)


WRITES: dict[str, Callable[[Fixture], object]] = {
    "start": lambda study: study.start(),
    "end": lambda study: study.finish(study.store.trial(study.study_id, 0), evaluations=[study.evaluation()]),
    "evaluations": lambda study: study.store.add_evaluations([study.evaluation()], study.lease),
    "events": lambda study: study.store.update_study(study.lease, phase="search", events=[NewEvent("told")]),
    "study": lambda study: study.store.create_study("late", 1, {}, seed=1),
    "undelivered": lambda study: study.store.mark_undelivered(1, "refused"),
    "claim": _claim,
    "lease": _take,
    "takeover": lambda study: study.store.reconcile(study.store.acquire_lease(study.study_id, 60)),
}


def _prepare(study: Fixture, write: str) -> None:
    if write in ("end", "takeover"):
        study.start()
    if write == "undelivered":
        study.store.update_study(study.lease, events=[NewEvent("first")])
    if write == "takeover":
        study.store.release_lease(study.lease)


def _contents(study: Fixture) -> dict[str, list[tuple[object, ...]]]:
    """All that a second application would change; no times and no tokens."""
    asked = {
        "trials": "SELECT number, state, attempts FROM trials ORDER BY id",
        "evaluations": "SELECT first_chunk FROM evaluations ORDER BY id",
        "outbox": "SELECT kind, attempts FROM outbox ORDER BY id",
        "studies": "SELECT name, tokens_evaluated, phase FROM studies ORDER BY id",
        "claims": "SELECT name FROM claims",
    }
    with study.store.reading() as session:
        connection = session.connection()
        return {name: [tuple(row) for row in connection.exec_driver_sql(sql)] for name, sql in asked.items()}


@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
@pytest.mark.parametrize("write", WRITES)
def test_a_commit_whose_answer_or_question_was_lost_is_there_once(
    server: PrivateServer, proxy: Proxy, study: Fixture, write: str, lose: Callable[[Proxy, bytes], None]
) -> None:
    with Store.open(server.new_database()) as undisturbed:
        expected = new_study(undisturbed)
        _prepare(expected, write)
        WRITES[write](expected)
        wanted = _contents(expected)
    _prepare(study, write)
    lose(proxy, b"COMMIT")
    WRITES[write](study)
    assert proxy.lost == 1
    assert _contents(study) == wanted


@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
def test_a_server_that_goes_away_in_a_commit_and_comes_back(
    proxy: Proxy, study: Fixture, said: list[str], lose: Callable[[Proxy, bytes], None]
) -> None:
    proxy.then = Proxy.cut
    lose(proxy, b"COMMIT")
    with _later(1.0, proxy.mend):
        trial = study.start()
    study.finish(trial)
    assert [each.number for each in study.store.trials(study.study_id)] == [0]
    waiting, back = said
    assert "does not answer" in waiting
    assert "Waiting for it" in waiting
    assert "answers again" in back
    assert PASSWORD not in waiting


def test_a_server_that_is_stopped_and_started(server: PrivateServer, study: Fixture, said: list[str]) -> None:
    trial = study.start()
    for end in (server.stop, server.kill):
        end()
        with _later(1.0, server.start):
            study.store.update_study(study.lease, phase=end.__name__, events=[NewEvent("told")])
    study.finish(trial)
    assert study.store.count_pending_events() == 3
    assert [line for line in said if "answers again" in line] != []


def test_an_outage_that_outlasts_the_lease(server: PrivateServer, proxy: Proxy, study: Fixture) -> None:
    study.store.release_lease(study.lease)
    lease = study.lease = study.store.acquire_lease(study.study_id, 0.9)
    trial = study.start()
    with LeaseKeeper(study.store, lease) as keeper:
        proxy.cut()
        with Store.open(server.url(study.store.url.database or "")) as direct:
            deadline = time.monotonic() + 30
            while direct.status(study.study_id).holder is not None:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            proxy.mend()
            study.finish(trial)
            assert not keeper.lost.is_set()
            while direct.status(study.study_id).holder is None:
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_an_outage_in_which_another_took_the_study(server: PrivateServer, proxy: Proxy, study: Fixture) -> None:
    study.store.release_lease(study.lease)
    lease = study.lease = study.store.acquire_lease(study.study_id, 0.9)
    trial = study.start()
    with LeaseKeeper(study.store, lease) as keeper, Store.open(server.url(study.store.url.database or "")) as direct:
        proxy.cut()
        with direct.writing() as session:
            session.connection().exec_driver_sql("UPDATE studies SET lease_token = 'of another'")
        proxy.mend()
        assert keeper.lost.wait(30)
        with pytest.raises(StudyError, match="taken over"):
            study.finish(trial)
    assert study.store.trial(study.study_id, 0).state == "running"


def test_a_connection_that_falls_silent(
    proxy: Proxy, study: Fixture, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "SILENCE_SECONDS", 0.5)
    proxy.stall()
    with _later(2.0, proxy.flow):
        trial = study.start()
    assert trial.number == 0
    assert study.start().number == 1


def test_ctrl_c_in_a_query_that_hangs_ends_it(proxy: Proxy, study: Fixture) -> None:
    """The server is asked to cancel, and the connection is not used again in an unknown state."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a server in this process may have left its own
    try:
        with _later(0.3, lambda: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
            _sleep_in_the_database(study.store)
    finally:
        signal.signal(signal.SIGINT, before)
    assert study.start().number == 0


def _sleep_in_the_database(store: Store) -> None:
    with store.reading() as session:
        session.connection().exec_driver_sql("SELECT pg_sleep(30)")


def test_patience_ends_for_all_threads_together(proxy: Proxy, study: Fixture, said: list[str]) -> None:
    study.store.wait_when_away(1.0, said.append)
    failures: list[str] = []

    def ask() -> None:
        try:
            study.store.studies()
        except StorageError as error:
            failures.append(str(error))

    proxy.cut()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(failures) == 4
    assert all("stayed away for 1 s" in failure and "same command again" in failure for failure in failures)
    assert len(said) == 1
    assert PASSWORD not in "".join(failures + said)
    proxy.mend()
    assert [each.name for each in study.store.studies()] == ["night"]


def test_without_patience_an_outage_is_an_error_at_once(server: PrivateServer, proxy: Proxy) -> None:
    with Store.open(server.new_database(port=proxy.port)) as store:
        proxy.cut()
        with pytest.raises(StorageError, match=r"broke off|does not answer\. Start it"):
            store.studies()
        proxy.mend()
        assert store.studies() == []


class _later:
    """Does something from another thread after so many seconds, while the block runs."""

    def __init__(self, seconds: float, work: Callable[[], None]) -> None:
        self._timer = threading.Timer(seconds, work)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()
