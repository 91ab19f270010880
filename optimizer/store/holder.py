"""Which process holds something, and whether it can still be alive."""

import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from optimizer.errors import StudyError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SAME_START_SECONDS = 0.5


class StudyHeld(StudyError):
    """Another process works on the study; `holder` says which, `expires_at` when it counts as gone unless renewed."""

    def __init__(self, study: str, holder: "Holder", expires_at: float, seconds_left: float) -> None:
        super().__init__(
            f"Study '{study}' is held by {holder}, whose lease runs for {max(0.0, seconds_left):.0f} s more unless "
            f"renewed. Stop it there (`layerquant stop {study}`), or wait until it ends."
        )
        self.study = study
        self.holder = holder
        self.expires_at = expires_at
        self.seconds_left = seconds_left


@dataclass(frozen=True, slots=True)
class Holder:
    """A process, told apart from a later one of the same id by its start and its host's boot."""

    host: str
    pid: int
    started_at: float
    """On Linux seconds since boot, so that a clock set right does not make a living process look dead."""
    boot_id: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def is_gone(self, here: "Holder") -> bool:
        """True when `here`, the process that asks, can tell for sure: it runs on the same host, and this one does not.

        A process on another host is never gone by this rule; only its lease's end tells.
        """
        if self.host != here.host:
            return False
        if self.boot_id != here.boot_id:
            return True
        started_at = _process_start(self.pid)
        return started_at is None or abs(started_at - self.started_at) > _SAME_START_SECONDS


def current_holder() -> Holder:
    """This process."""
    pid = psutil.Process().pid
    return holder_of_process(pid) or Holder(socket.gethostname(), pid, 0.0, _boot_id())


def holder_of_process(pid: int) -> Holder | None:
    """A process of this machine; None when there is none."""
    started_at = _process_start(pid)
    return None if started_at is None else Holder(socket.gethostname(), pid, started_at, _boot_id())


def _process_start(pid: int) -> float | None:
    """When the process started, or None when there is none (or only its exit code, not yet collected, is left)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started_at: float = process.create_time()
        return started_at - psutil.boot_time() if psutil.LINUX else started_at
    except psutil.NoSuchProcess:
        return None


@lru_cache(maxsize=1)
def _boot_id() -> str:
    """Empty where the system has none; start times are absolute there."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else ""
