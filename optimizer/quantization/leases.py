"""Leases: which shards are in use, so that no process evicts what a live candidate of any process needs.

A lease is a locked file that lists shards, relative to the bank's folder. Its lock dies with its process, so what kill
-9 leaves behind is told from what is in use.
"""

import errno
import fcntl
import os
import threading
import uuid
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_FOLDER = "leases"
_GUARD = "bank.lock"
_RELEASED = (errno.ENOENT, errno.ESTALE)
"""What a file gives that another process has unlinked; the second on a folder of another machine."""


class Lease:
    """Shards that must stay. Ends with `release()`, with the `with` block, or when nobody holds the object any more."""

    def __init__(self, root: Path) -> None:
        folder = root / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        self._root, self._prefix = root, f"{root.as_posix()}/"
        self._names: set[str] = set()
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex}"
        with guard(root):  # between creating and locking the file, nobody may take it for a dead one's
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            _lock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        self._finalizer = weakref.finalize(self, _end, descriptor, path)

    def add(self, shards: Sequence[Path]) -> set[Path]:
        """Put shards under this lease, made already or not; gives those that are there. From now on they stay."""
        with guard(self._root):
            names = [shard.as_posix().removeprefix(self._prefix) for shard in shards]
            new = [name for name in names if name not in self._names]
            os.write(self._descriptor, "".join(f"{name}\n" for name in new).encode())
            self._names.update(new)
            return {shard for shard in shards if os.path.exists(shard)}

    def release(self) -> None:
        self._finalizer()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def leased(root: Path) -> set[Path]:
    """Shards under any live lease of any process. Call it, and unlink what it does not name, within `guard(root)`."""
    shards: set[Path] = set()
    for path in (root / _FOLDER).glob("*"):
        try:
            with path.open("rb") as lease:
                if _lock(lease.fileno(), fcntl.LOCK_SH | fcntl.LOCK_NB):
                    path.unlink(missing_ok=True)  # its process is gone
                    continue
                # From what was opened: its holder may have released it, and so unlinked it, meanwhile.
                shards.update(root / line for line in lease.read().decode().splitlines())
        except OSError as error:
            if error.errno not in _RELEASED:
                raise
    return shards


_threads = threading.Lock()


@contextmanager
def guard(root: Path) -> Iterator[None]:
    """The bank's short lock, across threads and processes: taking a lease and evicting exclude each other."""
    with _threads:
        descriptor = os.open(root / _GUARD, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            _lock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _lock(descriptor: int, operation: int) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: then every lease counts as live
        return False
    return True


def _end(descriptor: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(descriptor)
