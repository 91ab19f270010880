"""A scheduler and workers as real processes, on loopback or in network namespaces."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAKE = "tests.execution.searches:SlowFake"
_WORKER = """
import sys
from dataclasses import replace
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.tls import Certificates
from optimizer.execution.worker import posts_of, run_worker
address, folder, evaluator, evaluators, quantizers, models, *tls = sys.argv[1:]
say = lambda line: print(line, flush=True)
node = NodeSettings(folder, None, tuple(models.split(",")) if models else (), 1, None, evaluator)
posts = posts_of([], int(evaluators), int(quantizers))
run_worker(address, posts, node, Certificates.of(address, *(tls or [None] * 3)), say)
"""


def wait_for(what: Callable[[], object], seconds: float = 180.0) -> object:
    """What it gives, once that is true. A deadline is for what hangs, not for speed."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


@dataclass
class Cluster:
    """`prefixes`: command words that put a process into another network namespace, by machine."""

    folder: Path
    tls: Sequence[str] = ()
    prefixes: dict[str, Sequence[str]] = field(default_factory=dict)
    host: str = "127.0.0.1"
    port: int = 0
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def start_scheduler(self) -> str:
        """At the same address each time."""
        place = self.folder / "scheduler.json"
        place.unlink(missing_ok=True)
        command = [sys.executable, "-m", "dask", "scheduler", "--host", self.host, "--port", str(self.port)]
        command += ["--no-dashboard", "--scheduler-file", str(place)]
        if self.tls:
            command += ["--protocol", "tls"]
            for name, path in zip(("--tls-ca-file", "--tls-cert", "--tls-key"), self.tls, strict=True):
                command += [name, path]
        self.scheduler = self._start("scheduler", command)
        self.address = str(wait_for(lambda: _address(place)))
        self.port = int(self.address.rpartition(":")[2])
        return self.address

    def start_worker(
        self, name: str, *, evaluator: str = FAKE, evaluators: int = 1, quantizers: int = 0, models: str = ""
    ) -> "subprocess.Popen[bytes]":
        """A machine by that name, with a folder of its own."""
        arguments = [str(self.folder / name), evaluator, str(evaluators), str(quantizers), models]
        return self._start(name, [sys.executable, "-c", _WORKER, self.address, *arguments, *(self.tls or [])])

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self.prefixes.get(name, ()), *command], cwd=ROOT, stdout=log, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process


def make_certificates(folder: Path, host: str = "127.0.0.1") -> list[str]:
    """An authority of its own, and one certificate for all machines: [CA, certificate, key], PEM files."""
    names = {name: str(folder / f"{name}.pem") for name in ("ca", "ca-key", "request", "cert", "key")}
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName=IP:{host}\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=authority", "-keyout", names["ca-key"], "-out", names["ca"]],
        [*new, "-subj", f"/CN={host}", "-keyout", names["key"], "-out", names["request"]],
        ["openssl", "x509", "-req", "-in", names["request"], "-CA", names["ca"], "-CAkey", names["ca-key"],
         "-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out", names["cert"]],
    ):  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return [names["ca"], names["cert"], names["key"]]


def _address(place: Path) -> str | None:
    try:
        return str(json.loads(place.read_text())["address"])
    except (FileNotFoundError, ValueError):
        return None
