"""Write a small file whole or not at all."""

import os
from pathlib import Path
from uuid import uuid4

from optimizer.errors import StorageError


def make_folder(folder: Path) -> None:
    """The folder and those above it. StorageError when it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}; name another place with -o") from None


def write_text(path: Path, text: str) -> None:
    """Beside, synced, renamed. StorageError when the folder cannot be written."""
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}; name another file with -o") from None
    finally:
        beside.unlink(missing_ok=True)
