"""Who launched and stopped what: one JSON object a line, appended and synced before the deed."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from fastapi import Request

from optimizer.errors import StorageError


class Audit:
    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def write(self, by: str, action: str, **facts: Any) -> None:
        """Raises StorageError when it cannot be kept; then the deed is not done either."""
        line = json.dumps({"time": time.time(), "by": by, "action": action} | facts, ensure_ascii=True)
        try:
            with self._lock, self._path.open("a", encoding="ascii") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(f"{self._path} cannot be written ({error.strerror}); nothing was done") from None


def who(request: Request) -> str:
    """The address of a request, and how it showed who it is."""
    host = request.client.host if request.client else "?"
    if request.app.state.service.settings.token is None:
        return host
    return f"{host}, {'token' if 'authorization' in request.headers else 'session'}"
