"""Waiting for what other threads and processes do: asked again and again, with a deadline for what hangs."""

import time
from collections.abc import Callable
from contextlib import suppress

PAUSE_SECONDS = 0.02


def eventually(
    condition: Callable[[], bool], seconds: float = 120.0, *, not_yet: tuple[type[Exception], ...] = ()
) -> None:
    """Until it holds. not_yet: errors that it may raise before that."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(*not_yet):
            if condition():
                return
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(PAUSE_SECONDS)
