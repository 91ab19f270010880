"""What stands beside a search, away or silent: the search goes on, and what it had to say is kept."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from optimizer.service import notifier
from optimizer.service.notices import Notice
from optimizer.service.notifier import Notifier, NotifySettings
from optimizer.store import Store
from tests.postgres import free_port
from tests.reliability.processes import Changes, Command, run
from tests.reliability.states import NAME, end_state

IMPATIENT = (
    ("optimizer.tracking.mirrors:CATCH_UP_SECONDS", 2.0),
    ("optimizer.tracking.background:BackgroundMirror.stop.__defaults__", (1.0,)),
)
"""At its end a search gives its mirrors twenty seconds."""


class Silent:
    """A server that takes connections and never answers; or resets them at once."""

    def __init__(self, *, resets: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.seen: list[socket.socket] = []
        self._resets = resets
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self.seen:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.seen.append(connection)
                if self._resets:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    connection.close()


@pytest.fixture(params=["silent", "resetting"])
def server(request: pytest.FixtureRequest) -> Iterator[Silent]:
    made = Silent(resets=request.param == "resetting")
    yield made
    made.close()


def told(place: Path, left_alone: dict[str, Any], command: Command) -> None:
    assert command.process.exitcode == 0, command.output
    assert "Traceback" not in command.output
    ended = end_state(place)
    assert ended == left_alone
    with Store.open(place) as store:
        assert store.count_pending_events() == len(ended["events"])  # for when MLflow is back


@pytest.mark.long
def test_mlflow_silent_or_broken(config: Path, left_alone: dict[str, Any], place: Path, server: Silent) -> None:
    uri = f"tracking.mlflow=http://127.0.0.1:{server.port}"
    changes = Changes(IMPATIENT, seconds_per_score=0.1)
    command = run(["search", config, "--set", uri, "--studies", place], place / "log", changes=changes)
    told(place, left_alone, command)
    assert server.seen


@pytest.mark.long
def test_mlflow_away(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    uri = f"tracking.mlflow=http://127.0.0.1:{free_port()}"
    command = run(["search", config, "--set", uri, "--studies", place], place / "log", changes=Changes(IMPATIENT))
    told(place, left_alone, command)


def test_a_webhook_silent_or_broken_is_given_up(
    tmp_path: Path, server: Silent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notifier, "TIMEOUT_SECONDS", 0.1)
    address = f"http://127.0.0.1:{server.port}/secret"
    tells = Notifier(NotifySettings(webhook=address), list, tmp_path / "seen.json", waits=(0.01,))
    tells.deliver(Notice("finished", NAME, "finished", {}))
    assert len(server.seen) == 2
    assert "given up" in caplog.text
    assert "secret" not in caplog.text
