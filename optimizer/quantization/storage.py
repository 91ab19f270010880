"""Disk space is asked for before work starts, and files appear under their name only when they are whole."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from optimizer.errors import StorageError
from optimizer.gguf.write import sync_folder

SPARE_BYTES = 64 * 1024**2  # left free for the database, logs and the rest of the machine
_COPY_STEP = 64 * 1024**2


def require_space(folder: Path, n_bytes: int, what: str) -> None:
    """StorageError unless the file system of `folder` has room for `n_bytes` and something to spare."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if n_bytes and n_bytes + SPARE_BYTES > free:
        raise StorageError(
            f"disk too small for {what}: {readable_size(n_bytes + SPARE_BYTES)} needed in {folder}, "
            f"{readable_size(free)} free; "
            "free some space or choose a folder on a larger disk"
        )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk, met in the middle of the work, into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EIO):
            raise StorageError(
                f"{path} cannot be written: {error.strerror}; free some space or choose another folder, and run again"
            ) from error
        raise


@contextmanager
def claimed(target: Path, *, replace: bool = False) -> Iterator[BinaryIO | None]:
    """Claim the making of `target`, across threads and processes: a file to fill, or None when it is there.

    The file is `target` + ".part", locked for as long as it is being written. Whoever wants the same target waits for
    the lock and finds the target made. The lock dies with its process, so that what kill -9 leaves behind is taken
    over. When the body ends well the file is fsynced and renamed; when it does not, the file is removed.

    Args:
        replace: yield a file even when the target is there, and put it in its place.
    """
    part = target.with_name(target.name + ".part")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _claim(part)
        with file:
            if target.exists() and not replace:
                part.unlink()
                yield None
                return
            file.truncate(0)
            try:
                yield file
                os.fsync(file.fileno())
                os.replace(part, target)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        sync_folder(target.parent)


def remove_abandoned(folder: Path) -> None:
    """Remove the ".part" files of processes that died; those in the making are locked and stay."""
    for part in folder.rglob("*.part"):
        try:
            with open(part, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still(file, part):
                    part.unlink()
        except OSError:
            continue


def copy_bytes(source: int, source_offset: int, target: int, target_offset: int, n_bytes: int) -> None:
    """Copy between two open files inside the kernel where it can (and without copying at all on file systems that share
    blocks).
    """
    while n_bytes:
        step = min(n_bytes, _COPY_STEP)
        count = _copy_in_kernel(source, source_offset, target, target_offset, step)
        if count == 0:
            data = os.pread(source, min(step, 1 << 20), source_offset)
            if not data:
                raise StorageError("a shard became shorter while it was copied; run again, it will be rebuilt")
            count = os.pwrite(target, data, target_offset)
        source_offset += count
        target_offset += count
        n_bytes -= count


def _copy_in_kernel(source: int, source_offset: int, target: int, target_offset: int, n_bytes: int) -> int:
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source, target, n_bytes, source_offset, target_offset)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF):
            return 0
        raise


def _claim(part: Path) -> BinaryIO:
    """Open and lock the file, created if need be; waits, and starts over when the holder renamed or removed it."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        file = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # A file system without locks: two processes may then do the same work, with the same result.
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                file.close()
                raise
        if _is_still(file, part):
            return file
        file.close()


def _is_still(file: BinaryIO, path: Path) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    here = os.fstat(file.fileno())
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def readable_size(n_bytes: int) -> str:
    """Bytes for people, in powers of ten."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.2f} MB"
