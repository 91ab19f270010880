"""Processes that outlive the service: started in sessions of their own, found again by a lock that each one holds.

The lock is taken before the process is started and handed to it, so that there is no moment in which a process lives
and its lock is free: a service that was killed at any point finds out for sure whether a job still runs.
"""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optimizer.cli import EXIT_CODE_VARIABLE
from optimizer.commands.options import DATABASE_VARIABLE
from optimizer.errors import EngineError, StorageError
from optimizer.progress import PROGRESS_VARIABLE
from optimizer.store.holder import Holder, current_holder

SECRETS = ("LAYERQUANT_TOKEN", "LAYERQUANT_NOTIFY")
"""The environment's variables of these beginnings are the service's own; its processes do not get them."""
LAYERQUANT = (sys.executable, "-m", "optimizer.cli")


def start(
    arguments: Sequence[str],
    log: Path,
    lock: Path,
    *,
    output: Path | None = None,
    exit_code: Path | None = None,
    program: Sequence[str] = LAYERQUANT,
    database: str | None = None,
) -> "subprocess.Popen[bytes]":
    """Runs `layerquant ARGUMENTS` on that database, what it says appended to `log`. Raises StorageError or EngineError.

    output: for its standard output, where that is another file; then progress is told in lines, too.
    exit_code: where it writes down how it ended, for a service that did not start it.
    The URL may hold a password: it goes through the environment.
    SIGINT is blocked in it until it says that it listens (`layerquant` does), so that none is lost before.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    if database is not None:
        environment[DATABASE_VARIABLE] = database
    if output not in (None, log):
        environment[PROGRESS_VARIABLE] = "lines"
    if exit_code is not None:
        environment[EXIT_CODE_VARIABLE] = str(exit_code.resolve())
    try:
        held = _take(lock)
    except OSError as error:
        raise StorageError(f"{lock} cannot be written: {error.strerror}") from None
    if held is None:
        raise EngineError(f"{lock} is held: the job runs already")
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as said, (output or log).open("ab") as printed, _blocked(signal.SIGINT):
            return subprocess.Popen(
                [*program, *arguments], stdin=subprocess.DEVNULL, stdout=printed, stderr=said,
                start_new_session=True, pass_fds=(held,), env=environment,
            )  # fmt: skip
    except OSError as error:
        raise EngineError(f"the process cannot be started: {error}") from None
    finally:
        os.close(held)


def is_held(lock: Path) -> bool:
    """Whether a process that was given this lock still lives."""
    if not lock.exists():
        return False
    held = _take(lock)
    if held is None:
        return True
    os.close(held)
    return False


def hold(lock: Path) -> int | None:
    """Takes a lock for this process; None where another has it. Closing the number gives it back."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    return _take(lock)


def release(held: int | None) -> None:
    if held is not None:
        os.close(held)


def interrupt(process: Holder, *, at_once: bool) -> bool:
    """Ctrl-C; `at_once`: SIGTERM, which a search takes as the second Ctrl-C. False where it is gone."""
    if process.is_gone(current_holder()):
        return False
    try:
        os.kill(process.pid, signal.SIGTERM if at_once else signal.SIGINT)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """What this thread starts has the signal blocked, too: one that is sent waits."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _take(lock: Path) -> int | None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        return None
    return number
