"""The tensor types of ggml: their ids in a GGUF, their blocks, and the bytes they take.

Source of the table: `enum ggml_type` in ggml.h and the block structs of ggml-common.h of the pinned llama.cpp.
Names are written in capitals, as people write them (`Q4_K`); llama.cpp's spelling (`q4_K`) is `TensorType.ggml_name`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from types import MappingProxyType

from optimizer.errors import RecipeError


@dataclass(frozen=True, slots=True)
class TensorType:
    name: str
    ggml_id: int
    block_size: int
    """Elements a block; a row must be a whole number of blocks."""
    block_bytes: int
    is_quantized: bool

    @property
    def bits_per_weight(self) -> float:
        return 8.0 * self.block_bytes / self.block_size

    @property
    def ggml_name(self) -> str:
        """As `ggml_type_name` spells it: lower case but for the K of the K-quants."""
        lower = self.name.lower()
        return lower[:-1] + "K" if lower.endswith("_k") else lower


def _table() -> Mapping[str, TensorType]:
    plain = [("F32", 0, 4), ("F16", 1, 2), ("BF16", 30, 2), ("F64", 28, 8)]
    integers = [("I8", 24, 1), ("I16", 25, 2), ("I32", 26, 4), ("I64", 27, 8)]
    quantized = [
        ("Q4_0", 2, 32, 18),
        ("Q4_1", 3, 32, 20),
        ("Q5_0", 6, 32, 22),
        ("Q5_1", 7, 32, 24),
        ("Q8_0", 8, 32, 34),
        ("Q8_1", 9, 32, 36),
        ("Q2_K", 10, 256, 84),
        ("Q3_K", 11, 256, 110),
        ("Q4_K", 12, 256, 144),
        ("Q5_K", 13, 256, 176),
        ("Q6_K", 14, 256, 210),
        ("Q8_K", 15, 256, 292),
        ("IQ2_XXS", 16, 256, 66),
        ("IQ2_XS", 17, 256, 74),
        ("IQ3_XXS", 18, 256, 98),
        ("IQ1_S", 19, 256, 50),
        ("IQ4_NL", 20, 32, 18),
        ("IQ3_S", 21, 256, 110),
        ("IQ2_S", 22, 256, 82),
        ("IQ4_XS", 23, 256, 136),
        ("IQ1_M", 29, 256, 56),
        ("TQ1_0", 34, 256, 54),
        ("TQ2_0", 35, 256, 66),
        ("MXFP4", 39, 32, 17),
        ("NVFP4", 40, 64, 36),
        ("Q1_0", 41, 128, 18),
        ("Q2_0", 42, 64, 18),
    ]
    types = [TensorType(name, ggml_id, 1, size, False) for name, ggml_id, size in plain + integers]
    types += [TensorType(name, ggml_id, block, size, True) for name, ggml_id, block, size in quantized]
    return MappingProxyType({t.name: t for t in sorted(types, key=lambda t: t.ggml_id)})


TENSOR_TYPES: Mapping[str, TensorType] = _table()
"""Canonical name -> type, in the order of ggml's ids."""

_BY_ID = {t.ggml_id: t for t in TENSOR_TYPES.values()}

_NOT_A_TARGET = frozenset({"F64", "I8", "I16", "I32", "I64", "Q8_1", "Q8_K", "NVFP4"})
TARGET_TYPES: tuple[str, ...] = tuple(name for name in TENSOR_TYPES if name not in _NOT_A_TARGET)
"""What a weight may be stored as: types that ggml quantizes to, and F32, F16, BF16."""


def tensor_type(name: str) -> TensorType:
    """The type of a canonical name; KeyError for any other spelling (`parse_tensor_type` reads those)."""
    return TENSOR_TYPES[name]


def tensor_type_by_id(ggml_id: int) -> TensorType | None:
    """The type behind the number in a GGUF, None where llama.cpp knows none (unused and removed ids)."""
    return _BY_ID.get(ggml_id)


def parse_tensor_type(text: str) -> str:
    """Any spelling (`q4_k`, `Q4_K`, `iq4_xs`) to the canonical name.

    Raises RecipeError for a name that is no tensor type, with the nearest ones.
    """
    name = text.strip().upper()
    if name in TENSOR_TYPES:
        return name
    near = get_close_matches(name, TARGET_TYPES, n=3, cutoff=0.5)
    hint = f" Did you mean {', '.join(near)}?" if near else f" Known types: {', '.join(TARGET_TYPES)}."
    raise RecipeError(f"{text!r} is no tensor type of ggml.{hint}")


def row_bytes(name: str, row_length: int) -> int:
    """Bytes of one row of `row_length` elements (ggml_row_size). ValueError if it is no whole number of blocks."""
    kind = TENSOR_TYPES[name]
    blocks, rest = divmod(row_length, kind.block_size)
    if rest:
        raise ValueError(f"a row of {row_length} elements cannot be {name}: its blocks hold {kind.block_size}")
    return blocks * kind.block_bytes


def tensor_bytes(shape: Sequence[int], name: str) -> int:
    """Bytes of a tensor of this shape (row length first), without the padding that follows it in a file."""
    return row_bytes(name, shape[0]) * prod(shape[1:])


def fits_row(name: str, row_length: int) -> bool:
    """Whether rows of this length are a whole number of the type's blocks."""
    return row_length % TENSOR_TYPES[name].block_size == 0
