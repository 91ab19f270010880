"""Fills the bank ahead of the evaluator: recipes go in, candidates come out, the most urgent recipe first.

One thread decides what to make next; the bank's threads make it. Between two batches of shards the thread looks again
whether something more urgent has come in, so that the candidate to be evaluated next never waits for one that comes
later.
"""

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.candidate import Candidate, plan_candidate
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.leases import Lease
from optimizer.quantization.requests import KnownShards, ShardRequest
from optimizer.quantization.rows import Stopped

if TYPE_CHECKING:
    from optimizer.recipes.recipe import Recipe

_BATCH = 4  # shards between two looks at the queue


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """Shards of all submitted candidates, and candidates."""

    shards_done: int
    shards_total: int
    candidates_done: int
    candidates_failed: int
    candidates_waiting: int


@dataclass(eq=False)
class _Order:
    recipe: "Recipe"
    priority: int
    number: int
    future: "Future[Candidate]" = field(default_factory=Future)
    requests: tuple[ShardRequest, ...] = ()
    batches: list[list[ShardRequest]] = field(default_factory=list)
    lease: Lease | None = None


class QuantizationWorker:
    """A background thread that makes candidates. Close it, or use it in a `with` block."""

    def __init__(
        self, model: ModelFile, quantizable: Sequence[str], bank: ShardBank, imatrix: Imatrix | None = None
    ) -> None:
        self._model, self._quantizable, self._bank, self._imatrix = model, quantizable, bank, imatrix
        self._orders: list[_Order] = []
        self._known: KnownShards = {}
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._shards_done = self._shards_total = self._done = self._failed = 0
        self._thread = threading.Thread(target=self._run, name="quantization-worker", daemon=True)
        self._thread.start()

    def submit(self, recipe: "Recipe", priority: int = 0) -> "Future[Candidate]":
        """Ask for a recipe's candidate. The lowest priority number goes first, equal ones in order of submission.

        The future holds the candidate, or the error that its shards met; a cancelled one is dropped.
        """
        with self._changed:
            if self._closing:
                raise RuntimeError("the quantization worker is closed")
            order = _Order(recipe, priority, next(self._numbers))
            self._orders.append(order)
            self._changed.notify()
        return order.future

    def prioritize(self, future: "Future[Candidate]", priority: int) -> None:
        """Change the priority of something submitted; nothing happens when it is done."""
        with self._changed:
            for order in self._orders:
                if order.future is future:
                    order.priority = priority

    @property
    def progress(self) -> WorkerProgress:
        with self._changed:
            return WorkerProgress(self._shards_done, self._shards_total, self._done, self._failed, len(self._orders))

    def close(self) -> None:
        """Stop after the slab of rows in the making; what is not done is cancelled. The bank stays open."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def __enter__(self) -> "QuantizationWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while (order := self._next()) is not None:
            try:
                candidate = self._advance(order)
            except Exception as error:
                self._end(order, error)
            else:
                if candidate is not None:
                    self._end(order, None)
                    order.future.set_result(candidate)
        for order in self._orders:
            if order.lease is not None:
                order.lease.release()
            if not order.future.cancel():  # it was in the making
                order.future.set_exception(CancelledError())

    def _next(self) -> _Order | None:
        """The most urgent order; waits for one. None when the worker is to end."""
        with self._changed:
            while True:
                self._orders = [order for order in self._orders if not order.future.cancelled()]
                if self._closing:
                    return None
                if self._orders:
                    return min(self._orders, key=lambda order: (order.priority, order.number))
                self._changed.wait()

    def _advance(self, order: _Order) -> Candidate | None:
        """Make the next few shards of an order; its candidate when there are no more."""
        if order.lease is None:
            if not order.future.set_running_or_notify_cancel():
                return None
            order.requests = plan_candidate(
                self._model, order.recipe, self._quantizable, self._bank, self._imatrix, known=self._known
            )
            missing = {request.path for request in self._bank.reserve(order.requests)}
            order.lease = Lease(self._bank.root)
            order.batches = [[request for request in order.requests if request.path not in missing]]
            lacking = [request for request in order.requests if request.path in missing]
            order.batches += [lacking[first : first + _BATCH] for first in range(0, len(lacking), _BATCH)]
            with self._changed:
                self._shards_total += len(order.requests)
        batch = order.batches.pop(0)
        self._bank.ensure_all(batch, order.lease, stop=lambda: self._closing)
        with self._changed:
            self._shards_done += len(batch)
        if order.batches:
            return None
        return Candidate(order.recipe, tuple(request.path for request in order.requests), order.requests, order.lease)

    def _end(self, order: _Order, error: Exception | None) -> None:
        with self._changed:
            if isinstance(error, Stopped) and self._closing:
                return  # `_run` ends it with the others
            self._orders.remove(order)
            if error is None:
                self._done += 1
                return
            self._failed += 1
        if order.lease is not None:
            order.lease.release()
        order.future.set_exception(error)
