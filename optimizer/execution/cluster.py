"""The workers of a Dask cluster. SQL is the truth: what the scheduler forgets is submitted again by whoever waits.

A job goes to one worker and nowhere else, so that a worker's end is noticed here at once, counted here, and a recipe
that ends workers does not wander through the whole cluster.
"""

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from distributed import Client, KilledWorker
from distributed import Future as DaskFuture
from distributed.comm import CommClosedError

from optimizer.execution.executor import Role, Task
from optimizer.execution.node import node_of_process
from optimizer.execution.problems import ClusterAway, WorkerLost
from optimizer.execution.tls import Certificates

CONNECT_SECONDS = 10.0
FETCH_SECONDS = 60.0
"""For a result, which is figures and answers."""
_AWAY: tuple[type[Exception], ...] = (OSError, TimeoutError, CommClosedError, RuntimeError, ValueError)
"""What a client raises, in one state or another, whose scheduler does not answer."""


class DaskExecutor:
    """`address` of the scheduler. Raises ClusterAway when it does not answer. Close it."""

    def __init__(self, address: str, certificates: Certificates | None = None) -> None:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said by the search
        self._address = address
        self._security = certificates.security() if certificates is not None else None
        self._lock = threading.Lock()
        self._pending: dict[Future[Any], tuple[str, DaskFuture[Any]]] = {}
        self._client = self._connect()

    def workers(self, role: Role) -> Mapping[str, str]:
        try:
            # Not scheduler_info(): it may give what the client's own timer has fetched, which is without workers.
            found = self._client.sync(self._scheduler().identity, n_workers=-1)["workers"]
        except _AWAY as error:
            raise self._away(error) from error
        if self._client.status != "running":
            raise self._away(self._client.status)
        with self._lock:
            lost = [each for each in self._pending.items() if each[1][0] not in found]
        for future, (worker, theirs) in lost:
            _fail(future, WorkerLost(f"worker {worker} ended, or was cut off"))
            theirs.cancel()
        return {name: str(each["host"]) for name, each in found.items() if each["resources"].get(role, 0) >= 1}

    def load(self) -> Mapping[str, int]:
        try:
            found = self._client.sync(self._scheduler().processing, workers=None)
            return {name: len(keys) for name, keys in found.items()}
        except _AWAY as error:
            raise self._away(error) from error

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            theirs = self._client.submit(
                _on_worker, task, *arguments, workers=[worker], allow_other_workers=False, resources={role: 1},
                pure=False,
            )  # fmt: skip
        except _AWAY as error:
            raise self._away(error) from error
        with self._lock:
            self._pending[future] = worker, theirs
        theirs.add_done_callback(lambda done: self._pass_on(future, done, worker))
        return future

    def reconnect(self) -> None:
        old, self._client = self._client, self._connect()
        self._close(old)

    def abandon(self) -> None:
        with self._lock:
            pending = list(self._pending.items())
        for future, (_, theirs) in pending:
            _fail(future, ClusterAway("the search has ended"))
            theirs.cancel()

    def close(self) -> None:
        self._close(self._client)

    def _connect(self) -> Client:
        try:
            return Client(self._address, security=self._security, timeout=CONNECT_SECONDS, set_as_default=False)
        except _AWAY as error:
            raise self._away(error) from error

    def _scheduler(self) -> Any:
        """Raises ClusterAway once Dask's own attempts to reconnect have ended."""
        found = self._client.scheduler
        if found is None:
            raise self._away(self._client.status)
        return found

    def _close(self, client: Client) -> None:
        with suppress(*_AWAY):  # a client whose scheduler is gone has nothing left to close
            client.close(timeout=CONNECT_SECONDS)

    def _pass_on(self, future: "Future[Any]", theirs: "DaskFuture[Any]", worker: str) -> None:
        """What came of a task; called in the one thread that the client has for it."""
        if theirs.status == "finished":
            try:
                result = theirs.result(timeout=FETCH_SECONDS)
            except (Exception, asyncio.CancelledError) as error:
                # The worker ended between its result and our fetching it: Dask would wait for another like it. The
                # task counts as pending until now, so that whoever looks at the workers sees the loss and cancels it.
                reason = str(error) or type(error).__name__
                _fail(future, WorkerLost(f"worker {worker} ended before its result was fetched: {reason}"))
            else:
                _succeed(future, result)
        elif theirs.status == "error":
            met = theirs.exception()
            lost = met is None or isinstance(met, KilledWorker)
            _fail(future, WorkerLost(f"worker {worker} ended") if lost else met)
        else:
            _fail(future, self._away("it has forgotten the work"))
        with self._lock:
            self._pending.pop(future, None)

    def _away(self, reason: object) -> ClusterAway:
        return ClusterAway(f"the scheduler {self._address} does not answer ({str(reason) or type(reason).__name__})")


def _on_worker(task: Task, *arguments: object) -> object:
    return task(node_of_process(), *arguments)


def _succeed(future: "Future[Any]", result: object) -> None:
    with suppress(InvalidStateError):  # given up meanwhile
        future.set_result(result)


def _fail(future: "Future[Any]", error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
