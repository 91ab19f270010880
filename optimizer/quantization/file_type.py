"""What `general.file_type` says: the preset that a recipe equals, or the one whose base type most weights have.

llama.cpp shows the number and uses it for nothing else.
"""

from collections import Counter
from collections.abc import Mapping

from optimizer import llama
from optimizer.gguf.model_file import ModelFile

# Presets by base type; where several share one, the plainest: Q4_K_M for Q4_K.
_PRESET_OF_TYPE: Mapping[str, str] = {
    "F32": "F32",
    "Q3_K": "Q3_K_M",
    "Q4_K": "Q4_K_M",
    "Q5_K": "Q5_K_M",
    "IQ2_S": "IQ2_M",
    "MXFP4": "MXFP4_MOE",
}


def file_type_of(
    model: ModelFile, tensor_types: Mapping[str, str], presets: Mapping[str, Mapping[str, str]] | None = None
) -> int:
    """llama.cpp's ftype number for a recipe.

    Args:
        presets: preset name -> tensor types of this model; the first that equals the recipe names it.
    """
    for name, types in (presets or {}).items():
        if types == tensor_types:
            return llama.file_type_number(name)
    elements: Counter[str] = Counter()
    for tensor in model.tensors:
        if len(tensor.shape) > 1:
            elements[tensor_types.get(tensor.name, tensor.tensor_type)] += tensor.n_elements
    if not elements:
        return llama.file_type_number("F32")
    base = elements.most_common(1)[0][0]
    return llama.file_type_number(_PRESET_OF_TYPE.get(base, base))
