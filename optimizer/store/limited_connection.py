"""A connection to PostgreSQL that does not wait for ever: a firewall or a proxy may swallow an answer unsaid."""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from psycopg import waiting

from optimizer.store.engines import SILENCE_SECONDS


class LimitedConnection(psycopg.Connection[Any]):
    """Raises OperationalError, and counts as lost, when the server is silent for SILENCE_SECONDS."""

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        try:
            return super().wait(_limited(gen), *arguments, **options)
        except _Silent as silent:
            self.close()  # without a word to the server, and SQLAlchemy sees that it is gone
            raise psycopg.OperationalError(str(silent)) from None


class _Silent(Exception):
    pass


def _limited(generator: Any) -> Generator[Any, Any, Any]:
    """Passes on what psycopg waits for and what came; it is told of every interval in which nothing did."""
    heard = time.monotonic()
    try:
        wanted = next(generator)
        while True:
            ready = (yield wanted) or 0  # None when psycopg begins anew, after Ctrl-C
            now = time.monotonic()
            if ready & waiting.READY_R:
                heard = now
            elif now - heard > SILENCE_SECONDS:
                raise _Silent(f"the server did not answer within {SILENCE_SECONDS:.0f} s")
            wanted = generator.send(ready)
    except StopIteration as ended:
        return ended.value
