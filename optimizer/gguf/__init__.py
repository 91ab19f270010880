"""Reads GGUF headers and writes GGUF files. Knows nothing of presets, recipes or searches.

It may touch files and nothing else: no llama.cpp, no database, no network.
"""

from optimizer.gguf.header import Header, TensorInfo, read_header
from optimizer.gguf.metadata import KeyValue, Metadata, MetadataValue, ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.model_file import ModelFile, block_number, canonical_order
from optimizer.gguf.tensor_types import TENSOR_TYPES, TensorType, parse_tensor_type, row_bytes, tensor_bytes
from optimizer.gguf.write import NewTensor, write_gguf

__all__ = [
    "TENSOR_TYPES",
    "Header",
    "KeyValue",
    "Metadata",
    "MetadataValue",
    "ModelFile",
    "NewTensor",
    "TensorInfo",
    "TensorType",
    "ValueType",
    "block_number",
    "canonical_order",
    "encode_pair",
    "parse_tensor_type",
    "read_header",
    "row_bytes",
    "string_pair",
    "tensor_bytes",
    "uint32_pair",
    "write_gguf",
]
