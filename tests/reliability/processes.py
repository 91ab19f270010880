"""layerquant's commands as processes of their own, and faults in them: one function does harm at its n-th call.

The processes are forked from a server that has imported everything, so that each costs a fraction of a second and is
still a real process, which SIGKILL ends as it ends any other. Candidates are scored by the fake evaluator.
"""

import faulthandler
import functools
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

KILLED = -signal.SIGKILL
FILLER = "filler"
LIMIT_BYTES = 4096
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.reliability.preloaded"])


@dataclass(frozen=True)
class Fault:
    """At call number `call` (from 1) of `function`, `module:name` or `module:Class.name`, `harm` is done.

    harm: `kill` the process; `fill` the disk of the folder `where` to the last byte; or `limit` the length of every
    file written from now on.
    """

    function: str
    call: int = 1
    after: bool = False
    harm: str = "kill"
    where: Path | None = None

    def __str__(self) -> str:
        return f"{self.function.rpartition(':')[2]}-{self.call}{'-after' if self.after else ''}"


@dataclass(frozen=True)
class Changes:
    """What else is different in the process: values put in the place of others, and how long one score takes."""

    values: tuple[tuple[str, Any], ...] = ()
    host: str | None = None
    seconds_per_score: float = 0.0


UNCHANGED = Changes()


@dataclass
class Command:
    """A running or ended process; `log` has its standard output and standard error."""

    process: BaseProcess
    log: Path
    started: float = field(default_factory=time.monotonic)

    def wait(self, seconds: float = 600.0) -> int:
        """Its exit code; -9 where it was killed."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(f"the process did not end within {seconds} s:\n{self.log.read_text()}")
        return self.process.exitcode

    def send(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    @property
    def output(self) -> str:
        return self.log.read_text()


def start(
    arguments: Sequence[str | Path],
    log: Path,
    fault: Fault | None = None,
    changes: Changes = UNCHANGED,
) -> Command:
    """`layerquant ARGUMENTS` in a new process."""
    words = [str(argument) for argument in arguments]
    process = _SERVER.Process(target=_run, args=(words, log, fault, changes))
    process.start()
    return Command(process, log)


def run(
    arguments: Sequence[str | Path],
    log: Path,
    fault: Fault | None = None,
    changes: Changes = UNCHANGED,
) -> Command:
    """The same, ended."""
    command = start(arguments, log, fault, changes)
    command.wait()
    return command


def _run(arguments: list[str], log: Path, fault: Fault | None, changes: Changes) -> None:
    """In the new process."""
    from evaluators.fake import FakeEvaluator
    from optimizer import cli
    from optimizer.search import runner

    faulthandler.register(signal.SIGUSR1, all_threads=True)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    runner.run_search = functools.partial(runner.run_search, evaluator_factory=FakeEvaluator)  # type: ignore[assignment]  # the fake, for commands too
    if changes.host is not None:
        import socket

        socket.gethostname = lambda: changes.host or ""
    for place, value in changes.values:
        holder, name = _place(place)
        setattr(holder, name, value)
    if changes.seconds_per_score:
        _install("evaluators.fake:FakeEvaluator.score", lambda call: time.sleep(changes.seconds_per_score))
    if fault is not None:
        _install(fault.function, functools.partial(_harm_at, fault), after=fault.after)
    status = cli.run(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _place(text: str) -> tuple[Any, str]:
    module, _, name = text.partition(":")
    parent, _, last = name.rpartition(".")
    return pkgutil.resolve_name(f"{module}:{parent}" if parent else module), last


def _install(place: str, step: Callable[[int], None], *, after: bool = False) -> None:
    holder, name = _place(place)
    inner = getattr(holder, name)
    lock, calls = threading.Lock(), 0

    @functools.wraps(inner)
    def outer(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        with lock:
            calls += 1
            call = calls
        if not after:
            step(call)
        result = inner(*arguments, **named)
        if after:
            step(call)
        return result

    setattr(holder, name, outer)


def _harm_at(fault: Fault, call: int) -> None:
    if call != fault.call:
        return
    if fault.harm == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.harm == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, LIMIT_BYTES))
    if fault.harm == "fill":
        assert fault.where is not None
        fill(fault.where)


def fill(folder: Path) -> None:
    """Take every free byte of the folder's disk."""
    with (folder / FILLER).open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"\1" * size):
                    pass
