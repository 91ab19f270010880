"""A result that is lost with its worker before it was fetched: whoever waits for it is told, and nothing hangs."""

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from optimizer.execution.cluster import DaskExecutor
from optimizer.execution.executor import EVALUATE
from optimizer.execution.problems import WorkerLost

WORKER = "tcp://127.0.0.1:1"


class Finished:
    """Dask's future of a task that has ended, whose result is nowhere any more; it waits until it is cancelled."""

    status = "finished"

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self.asked = threading.Event()

    def add_done_callback(self, callback: Any) -> None:
        threading.Thread(target=callback, args=(self,)).start()

    def result(self, timeout: float) -> object:
        self.asked.set()
        assert self._cancelled.wait(timeout), "nobody cancelled it"
        raise TimeoutError

    def cancel(self) -> None:
        self._cancelled.set()


class Client:
    """Of a scheduler that has no worker left."""

    status = "running"
    scheduler = SimpleNamespace(identity=None)

    def __init__(self, finished: Finished) -> None:
        self._finished = finished

    def submit(self, *arguments: Any, **options: Any) -> Finished:
        return self._finished

    def sync(self, *arguments: Any, **options: Any) -> Mapping[str, Any]:
        return {"workers": {}}


def test_a_result_that_is_gone_with_its_worker_is_lost_work(monkeypatch: pytest.MonkeyPatch) -> None:
    finished = Finished()
    monkeypatch.setattr(DaskExecutor, "_connect", lambda self: Client(finished))
    executor = DaskExecutor("tcp://127.0.0.1:2")
    future: Future[Any] = executor.submit(lambda node: None, worker=WORKER, role=EVALUATE)
    assert finished.asked.wait(30)
    assert executor.workers(EVALUATE) == {}
    with pytest.raises(WorkerLost, match=WORKER):
        future.result(timeout=30)
