"""What an importance matrix's file holds: sums and counts of every weight, one weight in memory at a time.

GGUF is llama-imatrix's format since 2025: for each weight `NAME.in_sum2` [columns, matrices] and `NAME.counts`
[1, matrices], both F32. The older .dat holds i32 entries; each: i32 length, name, i32 calls, i32 values,
float32 (sum / count) x calls; then i32 chunks, i32 length, text.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import GgufError, ImatrixError
from optimizer.gguf.header import Header, TensorInfo, read_header

SUMS, COUNTS = ".in_sum2", ".counts"
DATASETS, CHUNK_COUNT, CHUNK_SIZE = "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size"
_LARGEST_LEGACY_NAME = 1024


@dataclass(frozen=True, eq=False, slots=True)
class Entry:
    """One weight. sums: float32 [matrices x columns]; counts: float32 [matrices], or [1] for all matrices together.

    In a legacy file the sums are those of the mean over `counts[0]` calls.
    """

    name: str
    sums: NDArray[np.float32]
    counts: NDArray[np.float32]


@dataclass(frozen=True)
class ImatrixFile:
    """`chunk_size` is None where the file does not say it (a legacy one never does)."""

    path: Path
    chunk_count: int
    chunk_size: int | None
    datasets: tuple[str, ...]
    is_legacy: bool
    _tensors: Mapping[str, TensorInfo] = field(repr=False)
    _names: tuple[str, ...] = field(repr=False)
    _legacy: Mapping[str, Entry] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, path: Path) -> "ImatrixFile":
        """ImatrixError when it is neither format, or truncated."""
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise ImatrixError(f"{path}: cannot read the importance matrix: {error.strerror}") from error
        return _open_gguf(path) if magic == b"GGUF" else _open_legacy(path)

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def entries(self, names: Sequence[str] | None = None) -> Iterator[Entry]:
        """Those of `names`, in that order; by default all, by name for GGUF, in the file's order for .dat."""
        for name in self._names if names is None else names:
            yield self._legacy[name] if self.is_legacy else self._from_gguf(name)

    def counts(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and counts of each weight, without reading its sums."""
        for name in self._names:
            yield name, self._legacy[name].counts if self.is_legacy else _floats(self._tensors[name + COUNTS])

    def _from_gguf(self, name: str) -> Entry:
        return Entry(name, _floats(self._tensors[name + SUMS]), _floats(self._tensors[name + COUNTS]))


def _open_gguf(path: Path) -> ImatrixFile:
    try:
        header = read_header(path)
    except GgufError as error:
        raise ImatrixError(f"{path}: not an importance matrix: {error}") from error
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = sorted(
        {name.removesuffix(suffix) for name in tensors for suffix in (SUMS, COUNTS) if name.endswith(suffix)}
    )
    _check_gguf(path, header, names, tensors)
    datasets = header.metadata[DATASETS]
    named = tuple(str(dataset) for dataset in datasets) if isinstance(datasets, tuple) else (str(datasets),)
    chunks, size = (header.metadata.integer(key) for key in (CHUNK_COUNT, CHUNK_SIZE))
    return ImatrixFile(path, chunks or 0, size, named, False, tensors, tuple(names))


def _check_gguf(path: Path, header: Header, names: list[str], tensors: Mapping[str, TensorInfo]) -> None:
    if header.metadata.get("general.type") == "model" or not names:
        raise ImatrixError(f"{path}: a GGUF, but not an importance matrix; give the file that llama-imatrix wrote")
    lacking = [key for key in (DATASETS, CHUNK_COUNT, CHUNK_SIZE) if key not in header.metadata]
    if lacking:
        raise ImatrixError(
            f"{path}: an importance matrix without {', '.join(lacking)}, which llama-quantize refuses, too"
        )
    if header.required_bytes > header.size_bytes:
        raise ImatrixError(
            f"{path}: truncated: {header.required_bytes} bytes promised, {header.size_bytes} there; copy it again"
        )
    for name in names:
        sums, counts = tensors.get(name + SUMS), tensors.get(name + COUNTS)
        if sums is None or counts is None or (sums.tensor_type, counts.tensor_type) != ("F32", "F32"):
            raise ImatrixError(f"{path}: {name} lacks its sums or its counts as F32; make it again with llama-imatrix")
        if sums.n_elements % counts.n_elements:
            raise ImatrixError(
                f"{path}: {sums.n_elements} sums and {counts.n_elements} counts for {name}; make it again"
            )


def _floats(tensor: TensorInfo) -> NDArray[np.float32]:
    return np.fromfile(tensor.path, "<f4", tensor.n_elements, offset=tensor.offset)


def _open_legacy(path: Path) -> ImatrixFile:
    data = path.read_bytes()
    not_one = ImatrixError(
        f"{path}: not an importance matrix: neither GGUF nor the older .dat; give a file that llama-imatrix wrote"
    )
    position = 0

    def integer() -> int:
        nonlocal position
        if position + 4 > len(data):
            raise not_one
        (value,) = struct.unpack_from("<i", data, position)
        position += 4
        return int(value)

    entries: dict[str, Entry] = {}
    n_entries = integer()
    if not 0 < n_entries <= len(data) // 16:
        raise not_one
    for _ in range(n_entries):
        length = integer()
        if not 0 < length <= _LARGEST_LEGACY_NAME or position + length > len(data):
            raise not_one
        name = data[position : position + length].decode("utf-8", errors="replace")
        position += length
        calls, n_values = integer(), integer()
        if n_values < 1 or position + 4 * n_values > len(data):
            raise ImatrixError(
                f"{path}: not an importance matrix, or truncated in the values for {name!r}; copy it again"
            )
        sums = np.frombuffer(data, "<f4", n_values, position).astype(np.float32)
        position += 4 * n_values
        entries[name] = Entry(name, sums, np.array([calls], np.float32))
    chunks, dataset = 0, b""
    if len(data) - position >= 8:  # the tail is optional
        chunks, length = integer(), integer()
        dataset = data[position : position + max(0, length)]
    named = (dataset.decode("utf-8", errors="replace"),) if dataset else ()
    return ImatrixFile(path, chunks, None, named, True, {}, tuple(entries), entries)
