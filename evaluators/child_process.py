"""The evaluator's child process: how it is started, what its log ends with, and how it ends."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Self

from evaluators.engine_log import last_lines
from evaluators.settings import RuntimeSettings

_PACKAGE_PARENT = Path(__file__).resolve().parents[1]
CHILD_ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # else llama.cpp attaches a debugger to itself before it aborts
    # Threads that spin long while they wait make an evaluation many times slower beside any other program; threads that
    # never spin make a step of a single token 3-17 times slower on an idle machine.
    **({} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": "1000"}),
}


@dataclass(frozen=True, slots=True)
class ChildProcess:
    """`evaluators.child` at work; `log` is an unnamed file of whatever llama.cpp prints."""

    process: subprocess.Popen[bytes]
    connection: Connection
    log: IO[bytes]

    @classmethod
    def start(cls, settings: RuntimeSettings, idle_release: float) -> Self:
        """It lets go of a model that nobody asks about for `idle_release` seconds, and ends when this process does."""
        ours, theirs = Pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        # Appending, so that the child may empty the file without leaving a hole.
        fcntl.fcntl(log, fcntl.F_SETFL, fcntl.fcntl(log, fcntl.F_GETFL) | os.O_APPEND)
        paths = [str(_PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "evaluators.child", str(theirs.fileno()), str(log.fileno()), str(os.getpid())]
        process = subprocess.Popen(
            [*command, str(idle_release)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs.fileno(), log.fileno()),
            start_new_session=True,
            env={**CHILD_ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        theirs.close()
        ours.send(settings)
        return cls(process, ours, log)

    def log_tail(self) -> str:
        self.log.seek(max(0, os.fstat(self.log.fileno()).st_size - 65536))
        return last_lines(self.log.read().decode("utf-8", "replace"))

    def ask_to_end(self, grace: float) -> None:
        """Tell a child at work that it may stop, and wait for its answer to the call, `grace` seconds at most."""
        if not grace:
            return
        deadline = time.monotonic() + grace
        try:
            self.connection.send("abandon")
            while self.connection.poll(max(0.0, deadline - time.monotonic())):
                if self.connection.recv()[0] != "progress":
                    return
        except (OSError, EOFError):
            pass

    def end(self, *, kill: bool) -> int:
        """Exit status; a child that is asked politely has five seconds."""
        self.connection.close()
        try:
            if kill:
                self.process.kill()
            return self.process.wait(timeout=None if kill else 5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.log.close()


def ending(status: int) -> str:
    """An exit status in words."""
    if status == -signal.SIGKILL:
        return "killed from outside; most often the machine ran out of memory"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
