"""Importance matrices as files: GGUF (`llama-imatrix`'s format since 2025) and the older .dat.

One vector a weight, one value a column: the mean of the squared activations that the column was multiplied with.
Values equal those that llama-quantize reads from the same file (tools/quantize/quantize.cpp, load_imatrix): sums
divided by the count of each matrix in float32, 1 everywhere where an expert was never called.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import ImatrixError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.model_file import block_number
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.quantization.imatrix_file import Entry, ImatrixFile
from optimizer.recipes.imatrix_rules import requires_imatrix
from optimizer.recipes.roles import EMBEDDING_TABLES

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
        """Read a file of either format; ImatrixError when it is neither, truncated, not finite or negative."""
        file = ImatrixFile.open(path)
        vectors = {entry.name: _means(entry, legacy=file.is_legacy) for entry in file.entries()}
        for name, values in vectors.items():
            if not np.isfinite(values).all():
                raise ImatrixError(f"{path}: holds NaN or infinite values for {name}; make it again with llama-imatrix")
            if (values < 0).any():  # ggml would abort the process at IQ1 and IQ2
                raise ImatrixError(f"{path}: holds negative values for {name}; make it again with llama-imatrix")
        return cls(path, vectors, file.chunk_count, file.datasets)

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

        Raises:
            ImatrixError: no name is the model's, a layer is not, or a size differs.
        """
        shapes = {tensor.name: tensor for tensor in tensors}
        known = [name for name in self.vectors if name in shapes]
        if not known:
            raise ImatrixError(
                f"{self.path}: none of its {len(self.vectors)} names ({next(iter(self.vectors))}, ...) is a tensor of "
                "this model; it was made for another architecture"
            )
        last = max(map(block_number, shapes))
        deeper = next((name for name in self.vectors if block_number(name) > last), None)
        if deeper is not None:
            raise ImatrixError(
                f"{self.path}: it has values for {deeper}, and this model's last layer is {last}; it was made for a "
                "deeper model"
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


def _means(entry: Entry, *, legacy: bool) -> NDArray[np.float32]:
    """Mean squared activations, float32 [matrices x row length]; 1 for a matrix that was never called."""
    if legacy:  # sums x calls / counts already; 1 where nothing was counted
        calls = np.float32(entry.counts[0])
        return (entry.sums / calls if calls > 0 else entry.sums).reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        counts = np.where(np.isfinite(entry.counts), np.rint(entry.counts), 0).astype(np.float32)  # lround in the C++
        columns = entry.sums.reshape(counts.size, -1)
        means = np.divide(columns, counts[:, None], out=np.ones_like(columns), where=counts[:, None] > 0)
    return means.reshape(-1)
