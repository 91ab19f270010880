"""A thread that copies from the store to somewhere slow, and never stands in the search's way."""

import logging
import threading
import time
from abc import ABC, abstractmethod

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 5.0


class BackgroundMirror(ABC):
    """Works when told to (`notify`) and every few seconds; on failure it waits longer and longer, and goes on.

    What fails is kept in `last_error` and logged once until it changes: a search must neither end nor fill the
    terminal because a tracking server is down.
    """

    def __init__(self, name: str, *, first_wait: float = 1.0, longest_wait: float = 300.0) -> None:
        self.last_error: str | None = None
        self._name = name
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._failures = 0
        self._changed = threading.Condition()
        self._notified = False
        self._urgent = False
        self._stopped = False
        self._thread: threading.Thread | None = None

    @abstractmethod
    def pending(self) -> int:
        """How much is left to copy, asked of the store alone: fast, and right while the other side is down."""

    @abstractmethod
    def _work(self) -> bool:
        """Copies some of what is pending; False when nothing was to be done. May raise anything."""

    @abstractmethod
    def _end(self) -> None:
        """Called in the thread when it ends. The place to give back what `_work` took."""

    def start(self) -> None:
        """Starts the thread. A daemon: a network call that hangs does not keep the process alive."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"layerquant-{self._name}", daemon=True)
            self._thread.start()

    def notify(self) -> None:
        """Says that the store has something new. Returns at once; a waiting time after a failure is kept."""
        with self._changed:
            self._notified = True
            self._changed.notify_all()

    def catch_up(self, seconds: float) -> int:
        """Waits until nothing is pending, at most so long; returns how much still is. Tries at once in any case."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._failures = 0
            self._urgent = True
            self._changed.notify_all()
        self.start()
        while (left := self.pending()) and (remaining := deadline - time.monotonic()) > 0:
            time.sleep(min(0.1, remaining))
        return left

    def stop(self, seconds: float = 5.0) -> None:
        """Ends the thread after its present step, or leaves it behind where that takes longer than `seconds`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopped:
            with self._changed:
                self._notified = self._urgent = False  # before the look: what comes during it is looked at next
            try:
                while not self._stopped and self._work():
                    pass
                self._failures = 0
                self.last_error = None
            except Exception as error:
                # Broad on purpose: MLflow and Optuna raise whatever their drivers and servers do.
                self._failed(error)
            with self._changed:
                self._changed.wait_for(self._is_due, timeout=self._wait_seconds())
        try:
            self._end()
        except Exception as error:
            self._failed(error)

    def _is_due(self) -> bool:
        return self._stopped or self._urgent or (self._notified and self._failures == 0)

    def _wait_seconds(self) -> float:
        if self._failures == 0:
            return _POLL_SECONDS
        waited: float = self._first_wait * 2 ** min(self._failures - 1, 30)
        return min(waited, self._longest_wait)

    def _failed(self, error: Exception) -> None:
        message = f"{type(error).__name__}: {error}"
        if message != self.last_error:
            _LOG.warning("%s: %s (the search goes on; this is tried again later)", self._name, message)
        with self._changed:
            self.last_error = message
            self._failures += 1
