"""Who is counted as working for a study, and when that is told."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest

from evaluators.evaluator import EngineInfo
from evaluators.settings import RuntimeSettings
from optimizer.errors import StudyError
from optimizer.execution import roster as roster_module
from optimizer.execution.executor import EVALUATE, Role, Task
from optimizer.execution.node import WorkerFacts
from optimizer.execution.roster import Roster
from optimizer.execution.setup import StudySetup
from optimizer.search.at_work import AtWork

ENGINE = EngineInfo("fake", "1", "none", ("CPU",), "a" * 64)
OTHER = EngineInfo("fake", "2", "none", ("CPU",), "b" * 64)
SETUP = StudySetup("f", 1000, (), (), None, RuntimeSettings())


class Workers:
    """An executor whose workers say at once what they are: worker -> (host, engine)."""

    def __init__(self, **there: tuple[str, EngineInfo]) -> None:
        self.there = there

    def workers(self, role: Role) -> Mapping[str, str]:
        return {name: host for name, (host, _) in self.there.items()} if role == EVALUATE else {}

    def load(self) -> Mapping[str, int]:
        return {}

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        future: Future[Any] = Future()
        host, engine = self.there[worker]
        future.set_result(WorkerFacts(host, engine, 1))
        return future

    def reconnect(self) -> None: ...

    def abandon(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look looks."""
    monkeypatch.setattr(roster_module, "LOOK_SECONDS", 0.0)


def test_who_fits_is_told_when_that_changes_and_only_then() -> None:
    workers = Workers(a1=("a", ENGINE), a2=("a", ENGINE), b1=("b", ENGINE), c1=("c", OTHER))
    told: list[AtWork] = []
    roster = Roster(workers, SETUP, lambda line: None, counted=told.append)
    roster.settle()
    assert told == []  # nobody fits before there is an engine to fit
    roster.choose(ENGINE)
    for _ in range(5):
        roster.look()
    assert told == [AtWork(3, 2)]
    del workers.there["b1"]
    for _ in range(5):
        roster.look()
    assert told[1:] == [AtWork(2, 1)]
    roster.refuse("a1", "its disk is full")
    roster.look()
    workers.there.clear()
    roster.look()
    assert told[2:] == [AtWork(1, 1), AtWork(0, 0)]


def test_what_could_not_be_told_is_told_again() -> None:
    told: list[AtWork] = []

    def tell(found: AtWork) -> None:
        if not told:
            told.append(found)
            raise StudyError("the lease was lost")
        told.append(found)

    roster = Roster(Workers(a=("a", ENGINE)), SETUP, lambda line: None, counted=tell)
    roster.settle()
    roster.choose(ENGINE)
    with pytest.raises(StudyError):
        roster.look()
    roster.look()
    assert told == [AtWork(1, 1), AtWork(1, 1)]


def test_telling_that_takes_long_holds_up_no_other_thread() -> None:
    begun, over = threading.Event(), threading.Event()
    told: list[AtWork] = []

    def tell(found: AtWork) -> None:
        begun.set()
        assert over.wait(30)
        told.append(found)

    roster = Roster(Workers(a=("a", ENGINE)), SETUP, lambda line: None, counted=tell)
    roster.settle()
    roster.choose(ENGINE)
    slow = threading.Thread(target=roster.look)
    slow.start()
    assert begun.wait(30)
    roster.look()
    assert roster.take() == "a"
    assert told == []
    over.set()
    slow.join(30)
    assert told == [AtWork(1, 1)]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (AtWork(0, 0), "no evaluators"),
        (AtWork(1, 1), "1 evaluator"),
        (AtWork(2, 1), "2 evaluators"),
        (AtWork(16, 3), "16 evaluators on 3 machines"),
    ],
)
def test_in_words(found: AtWork, text: str) -> None:
    assert str(found) == text


def test_nobody_is_sent_to_a_worker_that_was_lost_until_it_is_seen_again() -> None:
    workers = Workers(a1=("a", ENGINE), b1=("b", ENGINE))
    roster = Roster(workers, SETUP, lambda line: None)
    roster.settle()
    roster.choose(ENGINE)
    roster.lose("a1")
    assert roster.slots == 1
    assert roster.take() == "b1"
    roster.look()
    assert roster.take() == "a1"
