"""Which tensor types llama-quantize refuses to make without an importance matrix.

Source: tensor_requires_imatrix in llama-quant.cpp of the pinned llama.cpp; tests compare it with dry runs.
"""

from optimizer.recipes.roles import EMBEDDING_TABLES, OUTPUT

_VERY_LOW_BIT = frozenset({"IQ3_XXS", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ1_M", "IQ1_S"})


def requires_imatrix(tensor: str, tensor_type: str, *, preset: str | None = None) -> bool:
    """Whether this tensor cannot have this type without importance values.

    Args:
        preset: the file's preset where there is one; only Q2_K_S asks for values for Q2_K as well.
    """
    if tensor == OUTPUT or tensor in EMBEDDING_TABLES:
        return False
    return tensor_type in _VERY_LOW_BIT or (tensor_type == "Q2_K" and preset == "Q2_K_S")
