"""Where a row is no whole number of a type's blocks, llama.cpp takes another type: the rule, for recipes of our own.

Source: tensor_type_fallback in llama-quant.cpp of the pinned llama.cpp; tests compare it with dry runs.
"""

from collections.abc import Mapping
from types import MappingProxyType

from optimizer.gguf.tensor_types import fits_row

_NEXT_TYPE: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(["IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ4_XS"], "IQ4_NL")
    | dict.fromkeys(["Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"], "Q4_0")
    | {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
)


def fallback_type(wanted: str, row_length: int) -> str:
    """The type that a row of this length gets where `wanted` was asked for; `wanted` itself where it fits."""
    if fits_row(wanted, row_length):
        return wanted
    given = _NEXT_TYPE.get(wanted, wanted)
    return given if fits_row(given, row_length) else "F16"
