"""Text out of the files that datasets are published in: one member of a zip archive, or the rows of a parquet file."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from optimizer.errors import ConfigError, StorageError

COLUMNS = ("content", "text")
"""Names of a text column, in order of preference; another is taken where it is the only one of strings."""
PIECE = 1 << 20


def plain_text(path: Path, member: str | None, folder: Path) -> Path:
    """The file itself, or the text that it holds, unpacked once into `folder`; the same file gives the same bytes."""
    if path.suffix.lower() == ".zip":
        with _archive(path) as archive:
            chosen = _member(archive, member, path)
            return _unpacked(folder / chosen.replace("/", "--"), lambda: _pieces(archive, chosen))
    if member is not None:
        raise ConfigError(f"{path.name}#{member}: only of a .zip can one file be named")
    if path.suffix.lower() == ".parquet":
        return _unpacked(folder / f"{path.stem}.txt", lambda: _rows(path))
    return path


def _archive(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{path} is no readable zip archive: {error}; give another file") from None


def _member(archive: zipfile.ZipFile, wanted: str | None, path: Path) -> str:
    names = [each.filename for each in archive.infolist() if not each.is_dir()]
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted not in names:
        said = f"has no file {wanted}" if wanted else "holds several files"
        raise ConfigError(f"{path.name} {said}; name one behind #: {', '.join(names[:12])}")
    return str(wanted)


def _pieces(archive: zipfile.ZipFile, member: str) -> Iterator[bytes]:
    try:
        with archive.open(member) as file:
            while piece := file.read(PIECE):
                yield piece
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(f"{member} cannot be unpacked: {error}; give another file") from None


def _rows(path: Path) -> Iterator[bytes]:
    """Row after row of the text column, each ended by a line break; empty rows are left out."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            column = _text_column(file.schema_arrow, path)
            for batch in file.iter_batches(columns=[column]):
                rows = [each for each in batch.column(0).to_pylist() if each]
                yield "".join(f"{row}\n" for row in rows).encode()
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{path} is no readable parquet file: {reason}; give another file") from None


def _text_column(schema: Any, path: Path) -> str:
    import pyarrow

    is_text = (pyarrow.types.is_string, pyarrow.types.is_large_string)
    strings = [each.name for each in schema if any(check(each.type) for check in is_text)]
    for name in COLUMNS:
        if name in strings:
            return name
    if len(strings) == 1:
        return str(strings[0])
    found = ", ".join(schema.names)
    raise ConfigError(f"{path.name}: no column `content` or `text` among {found}; make a text file of it and give that")


def _unpacked(target: Path, pieces: Callable[[], Iterator[bytes]]) -> Path:
    """Written once, beside, synced and renamed."""
    if target.exists():
        return target
    beside = target.with_name(f".{target.name}.{uuid4().hex[:8]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            for piece in pieces():
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as error:
        free = shutil.disk_usage(target.parent).free if target.parent.exists() else 0
        raise StorageError(
            f"{target} cannot be written: {error.strerror} ({free / 1e9:.2f} GB free); set HF_HOME to another folder"
        ) from None
    finally:
        beside.unlink(missing_ok=True)
    return target
