"""The binding: what it tells of ggml's types, and what it refuses before ggml would end the process."""

import numpy as np
import pytest

from optimizer import llama
from optimizer.errors import EngineError, ImatrixError
from optimizer.gguf.tensor_types import TENSOR_TYPES
from optimizer.quantization.imatrix import ALWAYS_WEIGHTED_TYPES


@pytest.mark.parametrize("name", TENSOR_TYPES)
def test_the_table_of_types_is_ggmls(name: str) -> None:
    kind = TENSOR_TYPES[name]
    assert llama.ggml_block(name) == (kind.ggml_name, kind.block_size, kind.block_bytes)


def test_types_that_ggml_never_makes_without_importance() -> None:
    assert {name for name in TENSOR_TYPES if llama.requires_importance(name)} == ALWAYS_WEIGHTED_TYPES


def test_refuses_what_ggml_asserts() -> None:
    source, out = np.zeros(256, np.float32), np.zeros(66, np.uint8)
    with pytest.raises(ImatrixError, match="IQ2_XXS"):
        llama.quantize_rows("IQ2_XXS", source, 256, None, out)
    with pytest.raises(ValueError, match="256 elements"):
        llama.quantize_rows("Q4_K", source, 256, None, out)
    with pytest.raises(ValueError, match="importance vector"):
        llama.quantize_rows("IQ2_XXS", source, 256, np.ones(255, np.float32), out)


@pytest.mark.parametrize(("preset", "number"), [("F32", 0), ("F16", 1), ("Q4_K_M", 15), ("MXFP4_MOE", 38)])
def test_file_type_numbers(preset: str, number: int) -> None:
    assert llama.file_type_number(preset) == number


def test_an_unknown_preset_has_no_number() -> None:
    with pytest.raises(EngineError, match="Q9_K"):
        llama.file_type_number("Q9_K")


def test_the_build_names_a_version() -> None:
    assert "llama-cpp-python" in llama.quantizer_build()
