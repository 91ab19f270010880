"""llama.cpp's log: kept in memory for error messages, optionally appended to a file, never on the terminal."""

from __future__ import annotations

import os
from collections import deque

_KEPT_LINES = 400
_FILE_LIMIT = 4 * 2**20


class EngineLog:
    """The last lines of the log. With a file every line is written at once, so that it survives a native abort."""

    def __init__(self) -> None:
        self._pieces: deque[str] = deque(maxlen=_KEPT_LINES)
        self._descriptor: int | None = None
        self._written = 0

    def write_to(self, descriptor: int) -> None:
        """Append from now on to this open file, which is emptied whenever it grows past 4 MiB."""
        self._descriptor = descriptor

    def add(self, text: str) -> None:
        self._pieces.append(text)
        if self._descriptor is None:
            return
        data = text.encode("utf-8", "replace")
        self._written += len(data)
        if self._written > _FILE_LIMIT:
            os.ftruncate(self._descriptor, 0)
            self._written = len(data)
        os.write(self._descriptor, data)

    def tail(self, lines: int = 20) -> str:
        return last_lines("".join(self._pieces), lines)

    def clear(self) -> None:
        self._pieces.clear()


def last_lines(text: str, lines: int = 20) -> str:
    """The last lines of a log that say something; progress dots and blank lines are left out."""
    kept = [line.rstrip() for line in text.splitlines() if line.strip(" .\t\r")]
    return "\n".join(kept[-lines:])
