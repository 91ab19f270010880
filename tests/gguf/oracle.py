"""llama.cpp's own quantization of a file, for comparison."""

import ctypes
from pathlib import Path

import llama_cpp

from optimizer.gguf import TENSOR_TYPES
from optimizer.recipes.dry_run import FTYPES


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silent(level: int, text: bytes, user_data: int) -> None:
    pass


def llama_quantize(
    source: Path,
    target: Path,
    preset: str,
    *,
    token_embedding_type: str | None = None,
    output_tensor_type: str | None = None,
    allow_requantize: bool = False,
) -> bool:
    """Quantizes as llama-quantize does; False where it refuses."""
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype, parameters.nthread, parameters.allow_requantize = FTYPES[preset], 2, allow_requantize
    if token_embedding_type:
        parameters.token_embedding_type = TENSOR_TYPES[token_embedding_type].ggml_id
    if output_tensor_type:
        parameters.output_tensor_type = TENSOR_TYPES[output_tensor_type].ggml_id
    refused = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    return not refused
