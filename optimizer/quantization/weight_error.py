"""How much of a tensor's weights quantizing loses: relative squared errors, from a sample of rows.

For a row x that comes back as y, with w the imatrix's importance of its columns (1 without one):

    error(row) = sum w (y - x)^2 / sum w x^2

A tensor's error is the mean over the rows that were sampled, times its rows, summed over its matrices (experts). It is
the error of llama.cpp's pull request 15550 (`target_bpw_type`, without its trimming of extreme rows).
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from optimizer import llama
from optimizer.errors import GgufError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import row_bytes
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.jobs import tensor_job
from optimizer.quantization.rows import TensorJob, available_cores

SAMPLE_WEIGHTS = 1 << 18
"""Weights of a tensor that are looked at; at least one row of each matrix."""
_NOTHING = 1e-12
"""Squared length below which a row has no relative error."""

Floats = NDArray[np.float32]


def weight_errors(
    model: ModelFile,
    wanted: Iterable[tuple[str, str]],
    imatrix: Imatrix | None = None,
    *,
    allow_requantize: bool = False,
    threads: int | None = None,
    sample_weights: int = SAMPLE_WEIGHTS,
) -> dict[tuple[str, str], float]:
    """(tensor, type) -> relative squared error x rows. Each thread holds one matrix's sampled rows at a time.

    Raises what `tensor_job` raises for a tensor that cannot be made a type, and GgufError for a truncated source.
    """
    types: dict[str, list[str]] = {}
    for tensor, tensor_type in sorted(set(wanted)):
        types.setdefault(tensor, []).append(tensor_type)
    jobs = {
        name: [
            tensor_job(model.by_name[name], tensor_type, imatrix, allow_requantize=allow_requantize)
            for tensor_type in of_tensor
        ]
        for name, of_tensor in types.items()
    }
    for tensor_type in sorted({tensor_type for of_tensor in types.values() for tensor_type in of_tensor}):
        llama.initialize_quantizer(tensor_type)
    with ThreadPoolExecutor(threads or available_cores(), thread_name_prefix="weight-error") as pool:
        found = pool.map(lambda name: _tensor_errors(jobs[name], _metric(imatrix, jobs[name][0]), sample_weights), jobs)
        return {(name, kind): error for name, errors in zip(jobs, found, strict=True) for kind, error in errors.items()}


def _metric(imatrix: Imatrix | None, job: TensorJob) -> Floats | None:
    """Importance of every column, also for types whose kernels ignore it; None where the imatrix has none."""
    tensor = job.tensor
    if imatrix is None or not imatrix.covered(tensor.name) or not imatrix.fits(tensor):
        return None
    return imatrix.values(tensor.name)


def _tensor_errors(jobs: Sequence[TensorJob], metric: Floats | None, sample_weights: int) -> Mapping[str, float]:
    tensor = jobs[0].tensor
    length, n_rows = tensor.row_length, tensor.n_rows // tensor.n_matrices
    errors = dict.fromkeys((job.tensor_type for job in jobs), 0.0)
    for matrix, source in enumerate(_sampled(tensor, sample_weights)):
        columns = slice(matrix * length, (matrix + 1) * length)
        weights = np.maximum(metric[columns], 0.0) if metric is not None else np.ones(length, np.float32)
        norms = (source**2 @ weights).astype(np.float64)
        for job in jobs:
            if job.tensor_type == tensor.tensor_type:
                continue
            importance = None if job.importance is None else job.importance[columns]
            lost = ((_there_and_back(job.tensor_type, source, importance) - source) ** 2 @ weights).astype(np.float64)
            relative = np.divide(lost, norms, out=np.zeros_like(lost), where=norms > _NOTHING)
            errors[job.tensor_type] += float(relative.mean()) * n_rows
    return errors


def _there_and_back(tensor_type: str, source: Floats, importance: Floats | None) -> Floats:
    n_rows, length = source.shape
    packed = np.empty(n_rows * row_bytes(tensor_type, length), np.uint8)
    llama.quantize_rows(tensor_type, source, length, importance, packed)
    restored = np.empty_like(source)
    llama.dequantize_rows(tensor_type, packed, restored.reshape(-1))
    return restored


def _sampled(tensor: TensorInfo, sample_weights: int) -> Iterator[Floats]:
    """Of each matrix, evenly spread rows as float32 [rows, row length]."""
    length, n_rows = tensor.row_length, tensor.n_rows // tensor.n_matrices
    n_sampled = min(n_rows, max(1, sample_weights // (length * tensor.n_matrices)))
    picked = np.arange(n_sampled) * n_rows // n_sampled
    n_bytes = row_bytes(tensor.tensor_type, length)
    with tensor.path.open("rb", buffering=0) as file:
        for matrix in range(tensor.n_matrices):
            packed = np.empty(n_sampled * n_bytes, np.uint8)
            for number, row in enumerate(picked):
                offset = tensor.offset + (matrix * n_rows + int(row)) * n_bytes
                data = os.pread(file.fileno(), n_bytes, offset)
                if len(data) != n_bytes:
                    raise GgufError(f"{tensor.path} is truncated: {tensor.name} ends early; fetch the file again")
                packed[number * n_bytes : (number + 1) * n_bytes] = np.frombuffer(data, np.uint8)
            source = np.empty((n_sampled, length), np.float32)
            llama.dequantize_rows(tensor.tensor_type, packed, source.reshape(-1))
            yield source
