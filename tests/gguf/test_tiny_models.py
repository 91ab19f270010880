"""The models that other tests stand on: llama.cpp itself loads them."""

import ctypes
from pathlib import Path

import llama_cpp
import pytest

from tests.models import tiny_model


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
def _silent(level: int, text: bytes, user_data: int) -> None:
    pass


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("qwen3", {}),
        ("qwen3", {"tied": True, "ffn": 288, "tensor_type": "BF16"}),
        ("qwen3", {"splits": 3}),
        ("llama", {"tensor_type": "F32"}),
        ("qwen2", {}),
        ("qwen3moe", {}),
        ("gemma3", {"tied": True}),
    ],
)
def test_llama_cpp_loads_and_tokenizes_them(tmp_path: Path, architecture: str, options: dict[str, object]) -> None:
    path = tiny_model(tmp_path, architecture, n_layer=2, **options)
    llama_cpp.llama_log_set(_silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
    assert model
    tokens = (ctypes.c_int32 * 32)()
    count = llama_cpp.llama_tokenize(llama_cpp.llama_model_get_vocab(model), b"the and", 7, tokens, 32, False, False)
    llama_cpp.llama_model_free(model)
    assert count == 2
