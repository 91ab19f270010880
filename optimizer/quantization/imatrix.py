"""Importance matrices as files: GGUF (`llama-imatrix`'s format since 2025) and the older .dat.

One vector a weight, one value a column: the mean of the squared activations that the column was multiplied with.
Values equal those that llama-quantize reads from the same file (tools/quantize/quantize.cpp, load_imatrix): sums
divided by the count of each matrix in float32, 1 everywhere where an expert was never called.
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import GgufError, ImatrixError
from optimizer.gguf.header import TensorInfo, read_header
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.recipes.imatrix_rules import requires_imatrix
from optimizer.recipes.roles import EMBEDDING_TABLES

_SUMS, _COUNTS = ".in_sum2", ".counts"
_METADATA = ("imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size")
_LARGEST_LEGACY_NAME = 1024

# ggml_quantize_chunk ends the process without importance for these, whatever the tensor
# (ggml_quantize_requires_imatrix).
ALWAYS_WEIGHTED_TYPES = frozenset({"IQ1_S", "IQ2_XXS", "IQ2_XS"})
LOW_BIT_TYPES = frozenset(name for name in TARGET_TYPES if requires_imatrix("any other weight", name))
"""Types that llama-quantize refuses without importance, except for token embeddings and output."""

# Their kernels ignore importance: the same shard serves a search with an imatrix and one without.
UNWEIGHTED_TYPES = frozenset({"F32", "F16", "BF16", "Q8_0", "MXFP4", "NVFP4", "TQ1_0", "TQ2_0"})


@dataclass(frozen=True, eq=False)
class Imatrix:
    """Importance of every covered weight: name -> float32 [row length x matrices]."""

    path: Path
    vectors: Mapping[str, NDArray[np.float32]] = field(repr=False)
    chunk_count: int = 0
    datasets: tuple[str, ...] = ()
    _digests: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> "Imatrix":
        """Read a file of either format; ImatrixError when it is neither, is truncated or holds NaN or infinity."""
        try:
            with path.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise ImatrixError(f"{path}: cannot read the importance matrix: {error.strerror}") from error
        imatrix = _read_gguf(path) if magic == b"GGUF" else _read_legacy(path)
        for name, values in imatrix.vectors.items():
            if not np.isfinite(values).all():
                raise ImatrixError(f"{path}: holds NaN or infinite values for {name}; make it again with llama-imatrix")
        return imatrix

    @cached_property
    def sha256(self) -> str:
        """Of all names and values, in order of name; the same for both formats when the values are."""
        digest = hashlib.sha256()
        for name in sorted(self.vectors):
            digest.update(f"{name}\0{self.vector_sha256(name)}\n".encode())
        return digest.hexdigest()

    def values(self, name: str) -> NDArray[np.float32] | None:
        """Importance of a weight, float32 [row length x matrices]; None when the matrix does not cover it."""
        return self.vectors.get(name)

    def covered(self, name: str) -> bool:
        return name in self.vectors

    def vector_sha256(self, name: str) -> str:
        """Of one weight's vector alone: what that weight's shards are keyed by."""
        if name not in self._digests:
            self._digests[name] = hashlib.sha256(self.vectors[name].tobytes()).hexdigest()
        return self._digests[name]

    def check_model(self, tensors: Iterable[TensorInfo]) -> tuple[str, ...]:
        """Check that this matrix belongs to a model of these tensors.

        Returns:
            Names of the model's weights (of two dimensions and more) that it does not cover.
        """
        shapes = {tensor.name: tensor for tensor in tensors}
        known = [name for name in self.vectors if name in shapes]
        if not known:
            raise ImatrixError(
                f"{self.path}: none of its {len(self.vectors)} names ({next(iter(self.vectors))}, ...) is a tensor of "
                "this model; it was made for another architecture"
            )
        for name in known:
            if name not in EMBEDDING_TABLES:
                self.fits(shapes[name])
        return tuple(name for name, tensor in shapes.items() if len(tensor.shape) > 1 and name not in self.vectors)

    def fits(self, tensor: TensorInfo) -> bool:
        """Whether a covered weight has a value for each column; ImatrixError when not, but for token embeddings."""
        name, expected = tensor.name, tensor.row_length * tensor.n_matrices
        if self.vectors[name].size == expected:
            return True
        if name in EMBEDDING_TABLES:  # llama-quantize leaves these unweighted then, and goes on
            return False
        raise ImatrixError(
            f"{self.path}: {self.vectors[name].size} values for {name}, which needs {expected}; "
            "it was made for another model"
        )


def importance_for(imatrix: Imatrix | None, tensor: TensorInfo, tensor_type: str) -> NDArray[np.float32] | None:
    """The vector that llama-quantize would use for this tensor and type, or None for unweighted.

    ImatrixError where the type needs one and there is none.
    """
    if tensor_type == tensor.tensor_type or tensor_type in UNWEIGHTED_TYPES:
        return None
    values = None
    if imatrix is not None and imatrix.covered(tensor.name) and imatrix.fits(tensor):
        values = imatrix.values(tensor.name)
    if values is None and needs_importance(tensor.name, tensor_type):
        missing = "no importance matrix was given" if imatrix is None else f"{imatrix.path} does not cover it"
        raise ImatrixError(
            f"{tensor.name} cannot be made {tensor_type}: the type needs an importance matrix and {missing}; "
            "give one with --imatrix, or leave this type out for this tensor"
        )
    return values


def needs_importance(name: str, tensor_type: str) -> bool:
    """Whether making `tensor_type` of this weight without importance is refused."""
    return tensor_type in ALWAYS_WEIGHTED_TYPES or requires_imatrix(name, tensor_type)


def _read_gguf(path: Path) -> Imatrix:
    try:
        header = read_header(path)
    except GgufError as error:
        raise ImatrixError(f"{path}: not an importance matrix: {error}") from error
    tensors = {tensor.name: tensor for tensor in header.tensors}
    names = sorted(
        {name.removesuffix(suffix) for name in tensors for suffix in (_SUMS, _COUNTS) if name.endswith(suffix)}
    )
    if header.metadata.get("general.type") == "model" or not names:
        raise ImatrixError(f"{path}: a GGUF, but not an importance matrix; give the file that llama-imatrix wrote")
    lacking = [key for key in _METADATA if key not in header.metadata]
    if lacking:
        raise ImatrixError(
            f"{path}: an importance matrix without {', '.join(lacking)}, which llama-quantize refuses, too"
        )
    if header.required_bytes > header.size_bytes:
        raise ImatrixError(
            f"{path}: truncated: {header.required_bytes} bytes promised, {header.size_bytes} there; copy it again"
        )
    vectors: dict[str, NDArray[np.float32]] = {}
    for name in names:
        sums, counts = tensors.get(name + _SUMS), tensors.get(name + _COUNTS)
        if sums is None or counts is None or (sums.tensor_type, counts.tensor_type) != ("F32", "F32"):
            raise ImatrixError(f"{path}: {name} lacks its sums or its counts as F32; make it again with llama-imatrix")
        if sums.n_elements % counts.n_elements:
            raise ImatrixError(
                f"{path}: {sums.n_elements} sums and {counts.n_elements} counts for {name}; make it again"
            )
        vectors[name] = _means(_floats(sums), _floats(counts))
    datasets = header.metadata["imatrix.datasets"]
    named = tuple(str(dataset) for dataset in datasets) if isinstance(datasets, tuple) else (str(datasets),)
    return Imatrix(path, vectors, header.metadata.integer("imatrix.chunk_count") or 0, named)


def _floats(tensor: TensorInfo) -> NDArray[np.float32]:
    return np.fromfile(tensor.path, "<f4", tensor.n_elements, offset=tensor.offset)


def _means(sums: NDArray[np.float32], counts: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean squared activations, float32 [matrices x row length]; 1 for a matrix that was never called."""
    with np.errstate(invalid="ignore", over="ignore"):
        calls = np.where(np.isfinite(counts), np.rint(counts), 0).astype(np.float32)[:, None]  # lround in the C++
        columns = sums.reshape(calls.size, -1)
        means = np.divide(columns, calls, out=np.ones_like(columns), where=calls > 0)
    return means.reshape(-1)


def _read_legacy(path: Path) -> Imatrix:
    """i32 entries; each: i32 length, name, i32 calls, i32 values, float32 (sum / count) x calls; then i32 chunks, i32
    length, text.
    """
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

    vectors: dict[str, NDArray[np.float32]] = {}
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
        vectors[name] = sums / np.float32(calls) if calls > 0 else sums
    chunks, dataset = 0, b""
    if len(data) - position >= 8:  # the tail is optional
        chunks, length = integer(), integer()
        dataset = data[position : position + max(0, length)]
    return Imatrix(path, vectors, chunks, (dataset.decode("utf-8", errors="replace"),) if dataset else ())
