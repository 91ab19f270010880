"""How many readers hold an event stream open, so that they stay few and leave when the service ends."""

import threading
from types import TracebackType
from typing import Self


class Watchers:
    """A context for each reader. `closing`: they should leave."""

    def __init__(self, most: int = 50) -> None:
        self._most, self._count, self._lock = most, 0, threading.Lock()
        self.closing = False

    @property
    def full(self) -> bool:
        return self._count >= self._most

    def __enter__(self) -> Self:
        with self._lock:
            self._count += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._count -= 1
