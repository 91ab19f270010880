"""The one module of `optimizer` that calls llama.cpp: ggml's quantize kernels, and llama_model_quantize itself.

Everything here is a plain call into the library that llama-cpp-python ships. ctypes releases the GIL for the time of a
call, so threads that quantize different rows run in parallel. ggml ends the process when an assertion fails; whatever
could trip one (a row that is no whole number of blocks, an importance vector that a type insists on) is refused here
with a Python error first.
"""

import ctypes
import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import EngineError, ImatrixError, RecipeError
from optimizer.gguf.tensor_types import TENSOR_TYPES, row_bytes


class _TypeTraits(ctypes.Structure):
    """`struct ggml_type_traits` of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("blck_size", ctypes.c_int64),
        ("blck_size_interleave", ctypes.c_int64),
        ("type_size", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.c_void_p),
        ("from_float_ref", ctypes.c_void_p),
    )


_ToFloat = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


_POINTERS = (ctypes.c_void_p, ctypes.c_void_p)
_COUNTS = (ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)


@cache
def _ggml() -> Any:
    """The library, its functions declared. Loaded at the first use: it takes half a second, and a plan needs none."""
    library = importlib.import_module("llama_cpp._ggml").libggml
    declared: tuple[tuple[str, type | None, tuple[type, ...]], ...] = (
        ("ggml_get_type_traits", ctypes.POINTER(_TypeTraits), (ctypes.c_int,)),
        ("ggml_quantize_init", None, (ctypes.c_int,)),
        ("ggml_quantize_free", None, ()),
        ("ggml_quantize_requires_imatrix", ctypes.c_bool, (ctypes.c_int,)),
        ("ggml_validate_row_data", ctypes.c_bool, (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)),
        ("ggml_version", ctypes.c_char_p, ()),
        ("ggml_commit", ctypes.c_char_p, ()),
        ("ggml_quantize_chunk", ctypes.c_size_t, (ctypes.c_int, *_POINTERS, *_COUNTS, ctypes.c_void_p)),
    )
    for name, result, arguments in declared:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@cache
def _llama() -> Any:
    return importlib.import_module("llama_cpp")


@cache
def quantizer_build() -> str:
    """Name the ggml that quantizes: its version and, where the build knows it, its commit. Part of a shard's key."""
    version = _ggml().ggml_version().decode()
    commit = _ggml().ggml_commit().decode()
    return f"ggml-{version}-llama-cpp-python-{_llama().__version__}" + ("" if commit == "unknown" else f"-{commit}")


def ggml_block(tensor_type: str) -> tuple[str, int, int]:
    """ggml's own name, elements and bytes of a type's block; what the table in `optimizer.gguf` is tested against."""
    traits = _ggml().ggml_get_type_traits(TENSOR_TYPES[tensor_type].ggml_id).contents
    return traits.type_name.decode(), traits.blck_size, traits.type_size


def requires_importance(tensor_type: str) -> bool:
    """Whether ggml itself asserts an importance vector (llama-quantize asks for one more often)."""
    return bool(_ggml().ggml_quantize_requires_imatrix(TENSOR_TYPES[tensor_type].ggml_id))


def initialize_quantizer(tensor_type: str) -> None:
    """Build the lookup tables of the IQ types once, before threads want them all at the same time."""
    _ggml().ggml_quantize_init(TENSOR_TYPES[tensor_type].ggml_id)


def dequantize_rows(tensor_type: str, rows: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
    """Convert whole rows, given as bytes, to float32 with ggml's own `to_float`; fills `out`, which gives the element
    count.
    """
    kind = TENSOR_TYPES[tensor_type]
    if rows.nbytes * kind.block_size != out.size * kind.block_bytes:
        raise ValueError(f"{rows.nbytes} bytes of {tensor_type} are not {out.size} elements")
    if tensor_type == "F32":
        out[:] = rows.view(np.float32)
        return
    address = _ggml().ggml_get_type_traits(kind.ggml_id).contents.to_float
    if not address:
        raise RecipeError(f"tensor type {tensor_type} cannot be converted to float by ggml")
    _ToFloat(address)(rows.ctypes.data, out.ctypes.data, out.size)


def quantize_rows(
    tensor_type: str,
    source: NDArray[np.float32],
    row_length: int,
    importance: NDArray[np.float32] | None,
    out: NDArray[np.uint8],
) -> None:
    """Quantize whole rows of one matrix.

    Args:
        source: float32, any shape, contiguous, a whole number of rows.
        importance: float32 [row_length], one weight per column, or None.
        out: uint8, contiguous, exactly the rows' bytes in `tensor_type`.
    """
    n_rows = source.size // row_length
    if out.nbytes != n_rows * row_bytes(tensor_type, row_length) or n_rows * row_length != source.size:
        raise ValueError(f"{source.size} elements do not fill {out.nbytes} bytes of {tensor_type}")
    if importance is None and requires_importance(tensor_type):
        raise ImatrixError(f"{tensor_type} cannot be made without an importance matrix; give one with --imatrix")
    if importance is not None and (importance.size != row_length or not importance.flags.c_contiguous):
        raise ValueError(f"an importance vector of {importance.size} for rows of {row_length}")
    type_id = TENSOR_TYPES[tensor_type].ggml_id
    weights = None if importance is None else importance.ctypes.data
    _ggml().ggml_quantize_chunk(type_id, source.ctypes.data, out.ctypes.data, 0, n_rows, row_length, weights)


def rows_are_valid(tensor_type: str, rows: NDArray[np.uint8]) -> bool:
    """ggml's check for NaN, infinity and impossible scales in whole rows of any type."""
    return bool(_ggml().ggml_validate_row_data(TENSOR_TYPES[tensor_type].ggml_id, rows.ctypes.data, rows.nbytes))


def file_type_number(preset: str) -> int:
    """The number that `general.file_type` holds for a preset such as "Q4_K_M"; EngineError when llama.cpp has none."""
    for prefix in ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_"):
        number = getattr(_llama(), prefix + preset, None)
        if number is not None:
            return int(number)
    raise EngineError(f"llama.cpp has no file type named {preset}")


def _overrides(metadata: Mapping[str, str | int]) -> Any:
    """llama.cpp's list of keys and values, closed by an empty key."""
    entries = (_llama().llama_model_kv_override * (len(metadata) + 1))()
    for entry, (key, value) in zip(entries, metadata.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, int):
            entry.tag, entry.value.val_i64 = _llama().LLAMA_KV_OVERRIDE_TYPE_INT, value
        else:
            entry.tag, entry.value.val_str = _llama().LLAMA_KV_OVERRIDE_TYPE_STR, value.encode()
    return entries


def quantize_file(
    source: Path,
    out: Path,
    preset: str,
    *,
    tensor_types: Mapping[str, str] | None = None,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    metadata: Mapping[str, str | int] | None = None,
    pure: bool = False,
    prune_layers: Sequence[int] = (),
    allow_requantize: bool = False,
    threads: int = 0,
) -> None:
    """Run llama.cpp's own `llama_model_quantize`, the oracle for shards, joined files and exported commands.

    Args:
        tensor_types: name pattern (std::regex, first match wins) -> tensor type, as `--tensor-type`.
        importance: tensor name -> float32 [row length x matrices], as an importance matrix file gives them.
        metadata: keys that the file gets besides, as `--override-kv`.
        prune_layers: as `--prune-layers`; patterns are then searched in the renumbered names.
    """
    parameters = _llama().llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = file_type_number(preset)
    parameters.pure = pure
    parameters.allow_requantize = allow_requantize
    if tensor_types:
        overrides = (_llama().llama_model_tensor_override * (len(tensor_types) + 1))()
        for override, (pattern, tensor_type) in zip(overrides, tensor_types.items(), strict=False):
            override.pattern, override.type = pattern.encode(), TENSOR_TYPES[tensor_type].ggml_id
        parameters.tt_overrides = overrides
    if metadata:
        parameters.kv_overrides = _overrides(metadata)
    if prune_layers:  # llama.cpp wants them sorted, closed by -1
        parameters.prune_layers = (ctypes.c_int32 * (len(prune_layers) + 1))(*sorted(prune_layers), -1)
    if importance:
        entries = (_llama().llama_model_imatrix_data * (len(importance) + 1))()
        for entry, (name, values) in zip(entries, importance.items(), strict=False):
            entry.name, entry.size = name.encode(), values.size
            entry.data = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        parameters.imatrix = entries
    status = _llama().llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(parameters))
    if status != 0:
        raise EngineError(f"llama.cpp could not quantize {source} as {preset}; its log says why")
