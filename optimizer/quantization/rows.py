"""Turn a source tensor into another tensor type, slab of rows by slab of rows, on all threads, in bounded memory.

ggml quantizes rows independently, so slabs may be of any height and may be made in any order: the bytes that come out
equal llama-quantize's (tests/quantization/test_rows.py). Slabs of several tensors flow through one pipeline, so that
threads are never idle at the end of a tensor.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer import llama
from optimizer.errors import GgufError, StorageError
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.tensor_types import row_bytes

WORKING_MEMORY_BYTES = 512 * 1024**2
_SLAB_ELEMENTS = 1 << 20
_SMALLEST_SLAB_ELEMENTS = 1 << 15


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor to make: `importance` is float32 [row length x matrices] or None."""

    tensor: TensorInfo
    tensor_type: str
    importance: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Slab:
    """Bytes of consecutive rows of job number `job`; `last` marks the end of that tensor."""

    job: int
    data: NDArray[np.uint8]
    last: bool


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Stopped(Exception):
    """The caller asked for the work to stop."""


class RowQuantizer:
    """A pool of threads that reads, converts and quantizes slabs of rows.

    Args:
        threads: None = one for each core this process may use.
        working_memory: bytes that slabs and buffers may take together (one row of a tensor is the least).
    """

    def __init__(self, threads: int | None = None, working_memory: int = WORKING_MEMORY_BYTES) -> None:
        self.threads = threads or available_cores()
        self._window = self.threads + 2  # finished slabs that wait for their turn, beside those in the making
        self._working_memory = working_memory
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="quantize")
        self._scratch = threading.local()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def slabs(self, jobs: Iterable[TensorJob], stop: Callable[[], bool] | None = None) -> Iterator[Slab]:
        """Yield the slabs of all jobs in order. Raises Stopped, between slabs, once `stop()` is true."""
        waiting: deque[tuple[int, bool, Future[NDArray[np.uint8]]]] = deque()
        with ExitStack() as open_files:
            descriptors: dict[Path, int] = {}
            try:
                for number, job in enumerate(jobs):
                    llama.initialize_quantizer(job.tensor_type)
                    descriptor = descriptors.get(job.tensor.path)
                    if descriptor is None:
                        descriptor = _open(job.tensor.path)
                        descriptors[job.tensor.path] = descriptor
                        open_files.callback(os.close, descriptor)
                    n_rows = job.tensor.n_rows
                    height = self._slab_height(job)
                    for first in range(0, n_rows, height):
                        if len(waiting) >= self._window:
                            yield _result(waiting.popleft())
                        if stop is not None and stop():
                            raise Stopped
                        n = min(height, n_rows - first)
                        future = self._pool.submit(self._make, job, descriptor, first, n)
                        waiting.append((number, first + n == n_rows, future))
                while waiting:
                    yield _result(waiting.popleft())
            finally:  # also when the consumer stops early: no thread may read a descriptor that is closed below
                for _, _, future in waiting:
                    future.cancel()
                for _, _, future in waiting:
                    if not future.cancelled():
                        future.exception()

    def _slab_height(self, job: TensorJob) -> int:
        length = job.tensor.row_length
        source_row = row_bytes(job.tensor.tensor_type, length)
        target_row = row_bytes(job.tensor_type, length)
        # Each thread holds source rows and their floats; each slab of the window (and the one in the consumer) target
        # rows.
        row = self.threads * (source_row + 4 * length) + (self._window + self.threads + 1) * target_row
        wanted = max(_SMALLEST_SLAB_ELEMENTS, min(_SLAB_ELEMENTS, job.tensor.n_elements // self.threads))
        return max(1, min(-(-wanted // length), self._working_memory // row))

    def _make(self, job: TensorJob, descriptor: int, first_row: int, n_rows: int) -> NDArray[np.uint8]:
        tensor = job.tensor
        length = tensor.row_length
        source_row = row_bytes(tensor.tensor_type, length)
        if tensor.tensor_type == job.tensor_type:
            source = np.empty(n_rows * source_row, np.uint8)
            _read(descriptor, source, tensor, first_row * source_row)
            return source
        source = self._buffer("source", n_rows * source_row)
        _read(descriptor, source, tensor, first_row * source_row)
        if tensor.tensor_type == "F32":
            floats = source.view(np.float32)
        else:
            floats = self._buffer("floats", n_rows * length * 4).view(np.float32)
            llama.dequantize_rows(tensor.tensor_type, source, floats)
        target_row = row_bytes(job.tensor_type, length)
        out = np.empty(n_rows * target_row, np.uint8)
        rows_per_matrix = tensor.n_rows // tensor.n_matrices
        row = 0
        while row < n_rows:  # a slab may span experts, each with its own slice of the importance vector
            matrix, row_in_matrix = divmod(first_row + row, rows_per_matrix)
            n = min(n_rows - row, rows_per_matrix - row_in_matrix)
            importance = None
            if job.importance is not None:
                importance = job.importance[matrix * length : (matrix + 1) * length]
            part = out[row * target_row : (row + n) * target_row]
            llama.quantize_rows(job.tensor_type, floats[row * length : (row + n) * length], length, importance, part)
            row += n
        if not llama.rows_are_valid(job.tensor_type, out):
            raise GgufError(
                f"{tensor.path}: {tensor.name} cannot be made {job.tensor_type}: ggml finds the result invalid"
            )
        return out

    def _buffer(self, kind: str, n_bytes: int) -> NDArray[np.uint8]:
        """A buffer of this thread, kept between slabs: fresh pages each time cost more than the conversion."""
        buffer: NDArray[np.uint8] | None = getattr(self._scratch, kind, None)
        if buffer is None or buffer.size < n_bytes:
            buffer = np.empty(n_bytes, np.uint8)
            setattr(self._scratch, kind, buffer)
        return buffer[:n_bytes]


def _result(entry: tuple[int, bool, Future[NDArray[np.uint8]]]) -> Slab:
    job, last, future = entry
    return Slab(job, future.result(), last)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be read any more ({error.strerror}); it must stay in place while layerquant works"
        ) from error


def _read(descriptor: int, buffer: NDArray[np.uint8], tensor: TensorInfo, offset: int) -> None:
    """Fill `buffer` from the tensor's data and have ggml check it, as llama-quantize does."""
    view = buffer.data
    done = 0
    while done < buffer.nbytes:
        count = _read_into(descriptor, view[done:], tensor.offset + offset + done)
        if count == 0:
            raise GgufError(f"{tensor.path} is truncated: {tensor.name} ends early; fetch the file again")
        done += count
    if not llama.rows_are_valid(tensor.tensor_type, buffer):
        raise GgufError(f"{tensor.path}: {tensor.name} holds NaN or infinite values; the source model is damaged")


def _read_into(descriptor: int, view: memoryview, offset: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [view], offset)
    data = os.pread(descriptor, view.nbytes, offset)  # macOS
    view[: len(data)] = data
    return len(data)
