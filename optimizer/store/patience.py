"""Waits while the database is away, and says so: a search pauses, and goes on where it was.

Every public method of the store is one transaction. It is run again when the database could not be reached, which is
safe: an error means that nothing was written, for a commit whose answer was lost is looked up first (`commits.py`).
"""

import functools
import random
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from optimizer.errors import StorageError, StudyError
from optimizer.store.failures import DatabaseAway

Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=type)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
SAY_AGAIN_SECONDS = 60.0
CONFLICTS = 20
"""How often two transactions may be in each other's way before one gives up."""


class Patience:
    """One clock for all threads of a process: it starts with the first failure and ends with the first answer.

    seconds: how long an outage may last; 0 raises at once. say: takes the lines that tell what is waited for.
    """

    def __init__(self, seconds: float = 0.0, say: Callable[[str], None] | None = None) -> None:
        self.seconds = seconds
        self._say = say or (lambda line: None)
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._away_since: float | None = None
        self._said_at: float | None = None

    def keep_trying(self, work: Callable[[], Result]) -> Result:
        """Raises the last StorageError when the outage outlasts the patience, or waiting cannot help."""
        pause, conflicts = FIRST_PAUSE, 0
        while True:
            try:
                result = work()
            except DatabaseAway as away:
                conflicts += away.conflict
                if away.conflict and conflicts < CONFLICTS:
                    time.sleep(random.uniform(0.0, 0.1))
                    continue
                self._wait(away, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except StudyError:
                self._answered()  # of a database that is there
                raise
            else:
                self._answered()
                return result

    def _wait(self, away: DatabaseAway, pause: float) -> None:
        now = time.monotonic()
        with self._lock:
            if self._away_since is None:
                self._away_since = now
            left = self._away_since + self.seconds - now
            if self.seconds <= 0 or self._over.is_set():
                raise away
            if left <= 0:
                raise StorageError(
                    f"{away} It stayed away for {self.seconds:.0f} s. Nothing that was measured is lost: run the same "
                    "command again when it answers."
                ) from away
            # The first failure is often a connection that a restart left behind: not worth a line.
            if pause > FIRST_PAUSE and (self._said_at is None or now - self._said_at >= SAY_AGAIN_SECONDS):
                self._said_at = now
                self._say(f"{away} Waiting for it, {left:.0f} s at most; nothing is lost.")
        try:
            self._over.wait(min(pause, left))
        except BaseException:  # Ctrl-C: what follows is to end, and would wait again
            self._over.set()
            raise

    def _answered(self) -> None:
        if self._away_since is None:
            return
        with self._lock:
            since, said = self._away_since, self._said_at
            self._away_since = self._said_at = None
            self._over.clear()
        if since is not None and said is not None:
            self._say(f"The database answers again, after {time.monotonic() - since:.0f} s; going on.")


def patient(kind: Kind) -> Kind:
    """A class whose public methods wait as its `patience` says, each of them one transaction."""
    for name in dir(kind):
        method = getattr(kind, name)
        if not name.startswith("_") and callable(method) and name not in _NO_TRANSACTIONS:
            setattr(kind, name, _waiting(method))
    return kind


_NO_TRANSACTIONS = {"open", "close", "reading", "writing", "wait_when_away"}


def _waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        patience: Patience = self.patience
        return patience.keep_trying(lambda: method(self, *arguments, **options))

    return call
