"""A stand-in for a model on which llama.cpp can plan: its header, its length, and no data.

llama.cpp's loader wants a file as long as the header promises, yet a dry run reads no tensor. A sparse file has that
length and takes a few KiB of disk, whatever the model's size. The vocabulary is left out: a dry run does not use it,
and copying 152,000 tokens for each of thirty presets would be most of its time.
"""

from collections.abc import Sequence
from pathlib import Path

from optimizer.errors import StorageError
from optimizer.gguf.metadata import KeyValue, uint32_pair
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.write import NewTensor, header_bytes, padded

_VOCABULARY = "tokenizer."


def planning_header(model: ModelFile) -> bytes:
    """The header of the stand-in: one file, all tensors in llama.cpp's order, no vocabulary but its size."""
    return header_bytes(_planning_pairs(model), _tensors(model))


def write_sparse(model: ModelFile, path: Path) -> None:
    """Writes a single sparse file that llama.cpp takes for `model`, without a vocabulary, all weights zero."""
    _write(path, header_bytes(_planning_pairs(model), _tensors(model)), model)


def write_sparse_copy(model: ModelFile, path: Path) -> None:
    """The same with the vocabulary kept: a full-length copy of a header-only file."""
    _write(path, header_bytes(model.output_pairs, _tensors(model)), model)


def _write(path: Path, header: bytes, model: ModelFile) -> None:
    size = len(header) + sum(padded(tensor.n_bytes) for tensor in model.tensors)
    try:
        with path.open("wb") as file:
            file.write(header)
            file.truncate(size)
    except OSError as error:
        raise StorageError(
            f"{path}: no sparse file of {size} bytes can be made here ({error.strerror or error}). Point TMPDIR to a "
            "file system that has sparse files."
        ) from error


def _tensors(model: ModelFile) -> Sequence[NewTensor]:
    return [NewTensor(tensor.name, tensor.shape, tensor.tensor_type) for tensor in model.tensors]


def _planning_pairs(model: ModelFile) -> Sequence[KeyValue]:
    dropped = ("split.", "general.alignment", _VOCABULARY)
    pairs = [pair for pair in model.metadata.pairs if not pair.key.startswith(dropped)]
    tokens, size_key = model.metadata.pair("tokenizer.ggml.tokens"), f"{model.architecture}.vocab_size"
    if tokens is not None and size_key not in model.metadata:
        pairs.append(uint32_pair(size_key, tokens.count))
    return pairs
