"""What a quantized file says of the importance matrix it was made with, as llama-quantize writes it."""

from optimizer.gguf.metadata import KeyValue, string_pair, uint32_pair
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.imatrix import Imatrix

MAX_TEXT = 127
"""Bytes of a text: llama.cpp's overrides hold no more."""


def with_imatrix_pairs(model: ModelFile, imatrix: Imatrix | None) -> ModelFile:
    """The model, whose quantized files name the imatrix by its file name, not its path: sizes must not depend on it."""
    return model if imatrix is None else model.adding(imatrix_pairs(imatrix))


def imatrix_pairs(imatrix: Imatrix) -> tuple[KeyValue, ...]:
    """quantize.imatrix.file, .dataset (the first), .entries_count and .chunks_count; unknown ones are left out."""
    pairs = [string_pair("quantize.imatrix.file", _cut(imatrix.path.name))]
    if imatrix.datasets:
        pairs.append(string_pair("quantize.imatrix.dataset", _cut(imatrix.datasets[0])))
    pairs.append(uint32_pair("quantize.imatrix.entries_count", len(imatrix.vectors)))
    if imatrix.chunk_count > 0:
        pairs.append(uint32_pair("quantize.imatrix.chunks_count", imatrix.chunk_count))
    return tuple(pairs)


def _cut(text: str) -> str:
    return text.encode()[:MAX_TEXT].decode(errors="ignore")
