import ctypes

import llama_cpp._ggml
import pytest

from optimizer.errors import RecipeError
from optimizer.gguf.tensor_types import (
    TARGET_TYPES,
    TENSOR_TYPES,
    fits_row,
    parse_tensor_type,
    row_bytes,
    tensor_bytes,
    tensor_type,
    tensor_type_by_id,
)


@pytest.mark.parametrize("name", TENSOR_TYPES)
def test_ids_blocks_and_spelling_are_ggmls_own(name: str) -> None:
    kind = tensor_type(name)
    ggml = llama_cpp._ggml.libggml
    ggml.ggml_type_size.restype, ggml.ggml_blck_size.restype = ctypes.c_size_t, ctypes.c_int64
    ggml.ggml_type_name.restype, ggml.ggml_is_quantized.restype = ctypes.c_char_p, ctypes.c_bool
    assert ggml.ggml_type_name(kind.ggml_id).decode() == kind.ggml_name
    assert (ggml.ggml_blck_size(kind.ggml_id), ggml.ggml_type_size(kind.ggml_id)) == (kind.block_size, kind.block_bytes)
    assert ggml.ggml_is_quantized(kind.ggml_id) == kind.is_quantized
    assert tensor_type_by_id(kind.ggml_id) is kind


def test_bits_per_weight_of_the_common_types() -> None:
    expected = {
        "Q2_K": 2.625,
        "Q3_K": 3.4375,
        "Q4_K": 4.5,
        "Q5_K": 5.5,
        "Q6_K": 6.5625,
        "Q8_0": 8.5,
        "IQ4_XS": 4.25,
    }
    assert {name: TENSOR_TYPES[name].bits_per_weight for name in expected} == expected


def test_sizes_of_rows_and_tensors() -> None:
    assert row_bytes("Q4_K", 512) == 288
    assert tensor_bytes((256, 3, 4), "Q6_K") == 2520
    assert not fits_row("Q4_K", 288)
    assert fits_row("Q8_0", 288)
    with pytest.raises(ValueError, match="cannot be Q4_K: its blocks hold 256"):
        row_bytes("Q4_K", 288)


def test_names_are_read_in_any_case() -> None:
    assert [parse_tensor_type(name) for name in ("q4_k", "Q4_K", " iq4_XS ", "bf16")] == [
        "Q4_K",
        "Q4_K",
        "IQ4_XS",
        "BF16",
    ]
    assert TENSOR_TYPES["Q4_K"].ggml_name == "q4_K"
    assert TENSOR_TYPES["IQ4_XS"].ggml_name == "iq4_xs"
    with pytest.raises(RecipeError, match=r"'Q4_KK' is no tensor type of ggml\. Did you mean Q4_K"):
        parse_tensor_type("Q4_KK")
    assert "Q8_K" not in TARGET_TYPES
