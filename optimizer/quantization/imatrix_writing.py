"""Activation sums as an importance matrix: llama-imatrix's GGUF, the same bytes for the same sums."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evaluators.imatrix import SumsFile
from optimizer.errors import ImatrixError
from optimizer.gguf.metadata import ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.write import Chunk, NewTensor, file_bytes, write_gguf
from optimizer.quantization.imatrix_file import CHUNK_COUNT, CHUNK_SIZE, COUNTS, DATASETS, SUMS
from optimizer.quantization.storage import require_space


def write_imatrix(sums: SumsFile, out: Path, *, dataset: str) -> Path:
    """Write the sums under their names, sorted; nothing but one weight is held.

    Args:
        dataset: what `imatrix.datasets` names: the text's path as it was given.

    Raises:
        ImatrixError: nothing was summed.
        StorageError: the disk is full; nothing is left behind.
    """
    weights = {name: (counts, values) for name, counts, values in sums.weights()}
    if not weights:
        raise ImatrixError(
            f"{out}: the model has no weight whose activations llama.cpp shows (blk.*, in batches of 16 tokens and "
            "more); use a longer chunk (-c)"
        )
    # As llama-imatrix counts them: by the weight that saw most tokens.
    chunks = max(int(counts.max()) for counts, _ in weights.values()) // sums.ctx_size
    pairs = [
        string_pair("general.type", "imatrix"),
        encode_pair(DATASETS, ValueType.STRING, [dataset]),
        uint32_pair(CHUNK_COUNT, chunks),
        uint32_pair(CHUNK_SIZE, sums.ctx_size),
    ]
    tensors = []
    for name in sorted(weights):
        counts, values = weights[name]
        matrices = counts.size
        tensors.append(NewTensor(name + SUMS, _shape(values.size // matrices, matrices), "F32"))
        tensors.append(NewTensor(name + COUNTS, _shape(1, matrices), "F32"))

    def data() -> Iterator[list[Chunk]]:
        for name in sorted(weights):
            counts, values = weights[name]
            yield [values.data.cast("B")]
            yield [counts.astype(np.float32).tobytes()]

    require_space(out.absolute().parent, file_bytes(pairs, tensors), out.name)
    write_gguf(out, pairs, tensors, data())
    return out


def _shape(columns: int, matrices: int) -> tuple[int, ...]:
    """Trailing ones are no dimensions in a file."""
    return (columns, matrices) if matrices > 1 else (columns,)
