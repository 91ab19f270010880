"""Writes a GGUF of version 3, laid out as gguf.cpp does it: header, padding to 32, tensors each padded to 32.

Tensor data streams through in chunks; nothing larger than a chunk is held. A file appears under its name only when
it is whole and on disk.
"""

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from optimizer.errors import StorageError
from optimizer.gguf.header import DEFAULT_ALIGNMENT, MAGIC
from optimizer.gguf.metadata import KeyValue
from optimizer.gguf.tensor_types import TENSOR_TYPES, tensor_bytes

WRITTEN_VERSION = 3

Chunk = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class NewTensor:
    """A tensor to be written: its shape in ggml's order (row length first) and the type it will have."""

    name: str
    shape: tuple[int, ...]
    tensor_type: str

    @property
    def n_bytes(self) -> int:
        return tensor_bytes(self.shape, self.tensor_type)


def padded(size: int, alignment: int = DEFAULT_ALIGNMENT) -> int:
    return -(-size // alignment) * alignment


def header_size(pairs: Sequence[KeyValue], tensors: Sequence[tuple[str, int]]) -> int:
    """Bytes up to the first tensor's data, padding included, from (name, number of dimensions) alone.

    It does not depend on the tensors' types, so all candidates of a model share it.
    """
    infos = sum(8 + len(name.encode()) + 4 + 8 * n_dimensions + 4 + 8 for name, n_dimensions in tensors)
    return padded(4 + 4 + 8 + 8 + sum(len(pair.raw) for pair in pairs) + infos)


def header_bytes(pairs: Sequence[KeyValue], tensors: Sequence[NewTensor]) -> bytes:
    """The whole header with its closing padding; tensors are placed one behind the other in the order given."""
    parts = [MAGIC, struct.pack("<Iqq", WRITTEN_VERSION, len(tensors), len(pairs))]
    parts += [pair.raw for pair in pairs]
    offset = 0
    for tensor in tensors:
        name = tensor.name.encode()
        shape = tensor.shape
        parts.append(struct.pack("<Q", len(name)) + name)
        parts.append(struct.pack(f"<I{len(shape)}q", len(shape), *shape))
        parts.append(struct.pack("<IQ", TENSOR_TYPES[tensor.tensor_type].ggml_id, offset))
        offset += padded(tensor.n_bytes)
    header = b"".join(parts)
    return header + bytes(padded(len(header)) - len(header))


def file_bytes(pairs: Sequence[KeyValue], tensors: Sequence[NewTensor]) -> int:
    """Bytes of the file that `write_gguf` would write."""
    size = header_size(pairs, [(tensor.name, len(tensor.shape)) for tensor in tensors])
    return size + sum(padded(tensor.n_bytes) for tensor in tensors)


def write_gguf(
    path: Path,
    pairs: Sequence[KeyValue],
    tensors: Sequence[NewTensor],
    data: Iterable[Iterable[Chunk]],
) -> None:
    """Writes beside `path`, syncs to disk, renames.

    Args:
        data: for each tensor, in order, its bytes in chunks of any size; both levels are consumed lazily.

    Raises:
        StorageError: the disk is full or cannot be written, or the data is not as long as the tensors' shapes say.
    """
    beside = path.with_name(f".{path.name}.{uuid4().hex[:12]}.part")
    try:
        with beside.open("xb") as file:
            file.write(header_bytes(pairs, tensors))
            _write_tensors(path, file, tensors, data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    except OSError as error:
        reason = "the disk is full; free some space" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise StorageError(f"{path}: cannot be written: {reason}. Nothing was left behind.") from error
    finally:
        beside.unlink(missing_ok=True)


def _write_tensors(path: Path, file: BinaryIO, tensors: Sequence[NewTensor], data: Iterable[Iterable[Chunk]]) -> None:
    for tensor, chunks in zip(tensors, data, strict=True):
        written = 0
        for chunk in chunks:
            written += file.write(chunk)
        if written != tensor.n_bytes:
            raise StorageError(
                f"{path}: tensor {tensor.name} got {written} bytes, its shape {list(tensor.shape)} as "
                f"{tensor.tensor_type} has {tensor.n_bytes}. The file was not written; this is a fault of the program."
            )
        file.write(bytes(padded(written) - written))


def sync_folder(folder: Path) -> None:
    """Makes a rename in this folder last. Systems that cannot open a folder (Windows) do it by themselves."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)
