"""Reads the header of one GGUF file (versions 2 and 3): its metadata pairs and where its tensors lie.

Tensor data is never touched. Every count and size is checked against what the file can hold before it is believed, so
that a damaged file ends in a GgufError and not in a traceback or in all the memory of the machine. The rules are those
of gguf_init_from_reader in the pinned llama.cpp: what it refuses is refused here.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from optimizer.errors import GgufError
from optimizer.gguf.metadata import SCALAR_FORMATS, KeyValue, Metadata, ValueType
from optimizer.gguf.tensor_types import tensor_type_by_id

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32
MAX_HEADER_BYTES = 1 << 30
MAX_STRINGS = 1 << 24
"""Strings an array may hold: 60 times the largest vocabulary, and still walked in seconds."""
MAX_NAME_BYTES = 63
"""GGML_MAX_NAME less its closing zero."""
MAX_DIMENSIONS = 4

Buffer = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class TensorInfo:
    name: str
    shape: tuple[int, ...]
    """ggml's order: row length first, then rows, then matrices (experts); trailing ones dropped."""
    tensor_type: str
    path: Path
    """The file, or the split, that holds it."""
    offset: int
    """Of its first byte in that file."""
    n_bytes: int

    @property
    def row_length(self) -> int:
        return self.shape[0]

    @property
    def n_rows(self) -> int:
        return prod(self.shape[1:])

    @property
    def n_matrices(self) -> int:
        """Experts of a MoE tensor; 1 for any other."""
        return prod(self.shape[2:])

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    path: Path
    version: int
    metadata: Metadata
    tensors: tuple[TensorInfo, ...]
    """In the file's order."""
    alignment: int
    end: int
    """Where the header ends, before the padding in front of the tensor data."""
    data_offset: int
    size_bytes: int
    """Of the file as it lies on disk."""

    @property
    def required_bytes(self) -> int:
        """Bytes the file must have to hold every tensor (the padding behind the last one may be missing)."""
        return max((t.offset + t.n_bytes for t in self.tensors), default=self.end)

    @property
    def is_header_only(self) -> bool:
        """Nothing but the header lies on disk, though it promises tensors: enough to compute sizes, no more."""
        return self.required_bytes > self.data_offset and self.size_bytes <= self.data_offset


class _Reader:
    """A position in the file's bytes. What is not there ends in a GgufError that counts the missing bytes."""

    def __init__(self, path: Path, data: Buffer, size: int) -> None:
        self.path, self.data, self.size, self.position = path, data, size, 0

    def need(self, count: int) -> None:
        end = self.position + count
        if end > MAX_HEADER_BYTES:
            raise self.damaged(f"its header claims more than {MAX_HEADER_BYTES >> 20} MiB")
        if end > self.size:
            raise GgufError(
                f"{self.path}: truncated inside its header: {self.size} bytes are there, at least {end - self.size} "
                "are missing. Download or copy the file again."
            )

    def damaged(self, what: str) -> GgufError:
        return GgufError(f"{self.path}: not a readable GGUF: {what}. Download or convert the file again.")

    def number(self, letter: str) -> int:
        size = struct.calcsize("<" + letter)
        self.need(size)
        (value,) = struct.unpack_from("<" + letter, self.data, self.position)
        self.position += size
        return int(value)

    def string(self, what: str) -> str:
        length = self.number("Q")
        if length > MAX_HEADER_BYTES:
            raise self.damaged(f"{what} claims {length} bytes")
        self.need(length)
        text = self.data[self.position : self.position + length]
        self.position += length
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is no UTF-8") from None

    def skip(self, count: int) -> None:
        self.need(count)
        self.position += count

    def skip_strings(self, count: int, what: str) -> None:
        if count > MAX_STRINGS:
            raise self.damaged(f"{what} claims {count} strings")
        self.need(8 * count)
        data, position, end = self.data, self.position, min(self.size, MAX_HEADER_BYTES)
        unpack = struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                position += 8 + unpack(data, position)[0]
                if position > end:
                    break
        except struct.error:
            position = end + 1
        if position > end:
            excess = position - self.position
            if excess > MAX_HEADER_BYTES:
                raise self.damaged(f"{what} holds a string longer than any header")
            self.need(excess)
        self.position = position


def read_header(path: Path) -> Header:
    """Reads the header of one file, whole or cut off behind it.

    Raises GgufError for a file that is missing, no GGUF, of another version or byte order, damaged, or truncated
    inside the header. Whether the tensor data is all there is the caller's to judge (`Header.required_bytes`).
    """
    if not path.exists():
        raise GgufError(f"{path}: no such file. Check the path; a split model is named by any of its parts.")
    if not path.is_file():
        raise GgufError(f"{path}: not a file. Name a GGUF file, or the first part of a split one.")
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            if size == 0:
                raise GgufError(f"{path}: not a GGUF: the file is empty. Download or convert it again.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                return parse_header(path, mapped, size)
    except OSError as error:
        raise GgufError(f"{path}: cannot be read: {error.strerror or error}. Check its permissions.") from error


def parse_header(path: Path, data: Buffer, size: int) -> Header:
    """Parses the header at the start of `data`; `size` is the length of the whole file in bytes."""
    reader = _Reader(path, data, size)
    if data[:4] != MAGIC:
        raise GgufError(
            f"{path}: not a GGUF: it begins with {bytes(data[:4])!r}, not {MAGIC!r}. "
            "Convert the model first (convert_hf_to_gguf.py of llama.cpp)."
        )
    reader.position = 4
    version = _version(reader)
    n_tensors, n_pairs = reader.number("q"), reader.number("q")
    if n_tensors < 0 or n_pairs < 0:
        raise reader.damaged(f"it claims {n_tensors} tensors and {n_pairs} metadata pairs")
    pairs: dict[str, KeyValue] = {}
    for number in range(n_pairs):
        pair = _pair(reader, number)
        if pair.key in pairs:
            raise reader.damaged(f"the key {pair.key!r} stands in it twice")
        pairs[pair.key] = pair
    metadata = Metadata(tuple(pairs.values()))
    alignment = _alignment(reader, metadata)
    tensors, end = _tensors(reader, n_tensors, alignment)
    return Header(path, version, metadata, tensors, alignment, end, _padded(end, alignment), size)


def _version(reader: _Reader) -> int:
    version = reader.number("I")
    if version and version & 0xFFFF == 0:
        raise GgufError(f"{reader.path}: a big-endian GGUF. Convert it: gguf_convert_endian.py of llama.cpp.")
    if version == 1:
        raise GgufError(f"{reader.path}: GGUF version 1, which llama.cpp reads no more. Convert the model again.")
    if version not in (2, 3):
        raise reader.damaged(f"its version is {version}, known are 2 and 3")
    return version


def _pair(reader: _Reader, number: int) -> KeyValue:
    start = reader.position
    key = reader.string(f"the key of metadata pair {number}")
    if not key:
        raise reader.damaged(f"the key of metadata pair {number} is empty")
    code, is_array, count = reader.number("I"), False, 1
    if code == ValueType.ARRAY:
        is_array, code, count = True, reader.number("I"), reader.number("Q")
    if code not in ValueType.__members__.values() or code == ValueType.ARRAY:
        raise reader.damaged(f"the value of {key!r} has the unknown type {code}")
    value_type = ValueType(code)
    payload = reader.position - start
    if value_type is ValueType.STRING:
        reader.skip_strings(count, f"the value of {key!r}")
    else:
        reader.skip(count * struct.calcsize("<" + SCALAR_FORMATS[value_type]))
    return KeyValue(key, value_type, is_array, count, reader.data[start : reader.position], payload)


def _alignment(reader: _Reader, metadata: Metadata) -> int:
    pair = metadata.pair("general.alignment")
    if pair is None:
        return DEFAULT_ALIGNMENT
    alignment = metadata.integer("general.alignment")
    if alignment is None or pair.value_type is not ValueType.UINT32 or alignment < 1 or alignment & (alignment - 1):
        raise reader.damaged("general.alignment is not a power of two (uint32)")
    return alignment


def _tensors(reader: _Reader, count: int, alignment: int) -> tuple[tuple[TensorInfo, ...], int]:
    reader.need(24 * count)  # name length, dimensions, type and offset of an unnamed scalar
    placed: list[TensorInfo] = []
    names: set[str] = set()
    offset = 0
    for number in range(count):
        name = reader.string(f"the name of tensor {number}")
        if len(name.encode()) > MAX_NAME_BYTES or name in names:
            raise reader.damaged(f"the name of tensor {number}, {name[:80]!r}, is too long or stands in it twice")
        names.add(name)
        shape = _shape(reader, name)
        code = reader.number("I")
        kind = tensor_type_by_id(code)
        if kind is None or shape[0] % kind.block_size:
            label = f"type {code}" if kind is None else kind.name
            raise reader.damaged(f"tensor {name!r} of shape {list(shape)} cannot be {label}")
        n_bytes = shape[0] // kind.block_size * kind.block_bytes * prod(shape[1:])
        if reader.number("Q") != offset:
            raise reader.damaged(f"tensor {name!r} does not begin where the tensor before it ends")
        placed.append(TensorInfo(name, shape, kind.name, reader.path, offset, n_bytes))
        offset += _padded(n_bytes, alignment)
        if offset >= 1 << 62:
            raise reader.damaged(f"tensor {name!r} claims {n_bytes} bytes")
    base = _padded(reader.position, alignment)
    tensors = (TensorInfo(t.name, t.shape, t.tensor_type, t.path, base + t.offset, t.n_bytes) for t in placed)
    return tuple(tensors), reader.position


def _shape(reader: _Reader, name: str) -> tuple[int, ...]:
    n_dimensions = reader.number("I")
    if n_dimensions > MAX_DIMENSIONS:
        raise reader.damaged(f"tensor {name!r} claims {n_dimensions} dimensions")
    shape = [reader.number("q") for _ in range(n_dimensions)]
    if any(length < 0 for length in shape) or prod(max(length, 1) for length in shape) >= 1 << 60:
        raise reader.damaged(f"tensor {name!r} claims the shape {shape}")
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return tuple(shape) or (1,)


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment
