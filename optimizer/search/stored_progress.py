"""A reporter that also keeps the phase's progress with the study, so that `layerquant status` knows it from outside."""

import threading
import time
from typing import Any

from optimizer.progress import Reporter
from optimizer.search.at_work import AT_WORK
from optimizer.store import Lease, Store

WRITE_SECONDS = 2.0
PASSING = ("done", "total", "eta_seconds")
"""What belongs to one phase only."""
OF_THIS_RUN = (AT_WORK,)
"""What the next run learns anew."""


class StoredProgress:
    """Passes everything on to `inner`; writes done, total and seconds left of the phase at most every two seconds."""

    def __init__(self, inner: Reporter, store: Store, lease: Lease, kept: dict[str, Any]) -> None:
        """`kept`: what the study's progress holds besides, such as the noise floor; see `keep`."""
        self._inner, self._store, self._lease = inner, store, lease
        self._kept = {name: value for name, value in kept.items() if name not in PASSING + OF_THIS_RUN}
        self._lock = threading.Lock()
        self._total = 0
        self._started = self._written = time.monotonic()

    def keep(self, name: str, value: Any) -> None:
        """Store a fact that later phases and runs need, or that others look at. Safe from any thread."""
        with self._lock:  # also while it is written: of two facts, the later is written with both
            self._kept[name] = value
            self._store.update_study(self._lease, progress=dict(self._kept))

    def kept(self, name: str) -> Any:
        return self._kept.get(name)

    def phase(self, title: str, total: int) -> None:
        self._inner.phase(title, total)
        with self._lock:
            self._store.update_study(self._lease, progress=dict(self._kept))
        self._total = total
        self._started = self._written = time.monotonic()

    def advance(self, done: int, detail: str = "") -> None:
        self._inner.advance(done, detail)
        now = time.monotonic()
        if now - self._written < WRITE_SECONDS or not 0 < done <= self._total:
            return
        self._written = now
        left = (now - self._started) / done * (self._total - done)
        with self._lock:
            self._store.update_study(
                self._lease, progress={**self._kept, "done": done, "total": self._total, "eta_seconds": left}
            )

    def trials(self, done: int, detail: str = "") -> None:
        """Like `advance`, for phases made of trials: the store counts those itself."""
        self._inner.advance(done, detail)

    def work(self, done: int, total: int, detail: str = "") -> None:
        self._inner.work(done, total, detail)

    def line(self, text: str) -> None:
        self._inner.line(text)

    def close(self) -> None:
        self._inner.close()
