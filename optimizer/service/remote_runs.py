"""`eval`, `quantize`, `imatrix`, `probe` and `prompts check`, run by a service on its machine, shown as if here."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import typer
from rich.markup import escape

from optimizer.commands.shown import err
from optimizer.errors import ConfigError, EngineError, StudyError
from optimizer.recipes.arguments import is_layer_types, read_layer_types
from optimizer.recipes.layer_types import format_shell
from optimizer.service.client import Client
from optimizer.service.run_parameters import kind_of
from optimizer.service.run_words import given_values, words_of

FAILURE, INTERRUPTED = 1, 130
POLL_SECONDS = 0.5
QUIET_SECONDS = 3.0
"""A run may wait for its turn so long before that is told."""
PATIENCE_SECONDS = 120.0
"""The run goes on while the service is started anew."""


def ask_run(client: Client, command: str, context: typer.Context) -> None:
    """Ctrl-C stops it there, a second one at once; its files come here by the names that were given."""
    values = given_values(context)
    outputs = {Path(value).name: Path(value) for name, value in values.items() if kind_of(name, value) == "output"}
    for path in outputs.values():
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent}; make it first")
    sent = values | {name: Path(value).name for name, value in values.items() if kind_of(name, value) == "output"}
    given = values.get("layer_types")
    if given is not None and not is_layer_types(given) and Path(given).is_file():
        sent["layer_types"] = format_shell(read_layer_types(given))
    run = client.post("api/runs", {"command": command, "words": words_of(context, sent)})
    _Follower(client, run["id"], outputs).follow()


@dataclass
class _Follower:
    """One run, until it has ended. `read`: bytes that were shown of each stream."""

    client: Client
    number: int
    outputs: Mapping[str, Path]
    read: dict[str, int] = field(default_factory=lambda: {"stderr": 0, "stdout": 0})

    def follow(self) -> None:
        try:
            run = self._until_it_ends()
        except (KeyboardInterrupt, SystemExit):
            err().print(f"run {self.number} is being stopped at the service; Ctrl-C again ends it at once")
            self._stop()
            raise SystemExit(INTERRUPTED) from None
        code = run["exit_code"]
        if code == 0:
            self._fetch(run["files"])
        elif code is None or not 0 < code < 256:
            raise StudyError(f"run {self.number} at the service: {run['error']}")
        else:
            raise SystemExit(code)

    def _stop(self) -> None:
        try:
            self.client.post(self._path("stop"))
            self._until_it_ends()
        except (KeyboardInterrupt, SystemExit):
            self.client.post(self._path("stop"), {"at_once": True})

    def _until_it_ends(self) -> dict[str, Any]:
        began, told = time.monotonic(), False
        silent_since: float | None = None
        while True:
            try:
                run: dict[str, Any] = self.client.get(self._path())
                for stream, file in (("stderr", sys.stderr), ("stdout", sys.stdout)):
                    while text := self._more(stream):
                        file.write(text)
                        file.flush()
                if run["state"] == "ended":
                    return run
                silent_since = None
                if not told and run["state"] == "queued" and time.monotonic() - began > QUIET_SECONDS:
                    told = True
                    err().print(f"run {self.number} waits at the service until what runs there has ended")
            except EngineError:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > PATIENCE_SECONDS:
                    raise
            time.sleep(POLL_SECONDS)

    def _more(self, stream: str) -> str:
        said = self.client.get(self._path("output"), stream=stream, **{"from": self.read[stream]})
        self.read[stream] = said["next"]
        return str(said["text"])

    def _fetch(self, files: list[dict[str, Any]]) -> None:
        for each in files:
            folder, _, name = each["name"].rpartition("/")
            path = self.outputs[name].parent / folder / self.outputs[name].name
            path.parent.mkdir(exist_ok=True)
            n_bytes = self.client.download(self._path(f"files/{quote(each['name'])}"), path)
            err().print(f"here: {escape(str(path))}, {n_bytes:,} bytes", soft_wrap=True)

    def _path(self, behind: str = "") -> str:
        return f"api/runs/{self.number}/{behind}".rstrip("/")
