"""A recipe as one llama-quantize command: nothing but llama.cpp is needed to make the file again.

The tensors of its output equal layerquant's bit for bit; only the metadata block that says how the recipe was found
is missing. Where layers are pruned, the patterns name tensors as llama-quantize numbers them once these are gone.
"""

import shlex
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from optimizer.export.tensor_type_file import explicit_types, name_pattern
from optimizer.gguf import TENSOR_TYPES, ModelFile, block_number
from optimizer.quantization.file_type import file_type_of
from optimizer.recipes.dry_run import FTYPES
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.roles import OUTPUT, TOKEN_EMBEDDING

_NOT_A_BASE: Mapping[str, str] = {
    # llama-quantize heeds --tensor-type only above a quantized base,
    "F32": "Q8_0",
    "F16": "Q8_0",
    "BF16": "Q8_0",
    # and refuses Q2_K tensors without an importance matrix under this one alone.
    "Q2_K_S": "Q2_K",
}


def base_preset(recipe: Recipe, model: ModelFile) -> str:
    """The preset to name in the command. It decides no tensor, since all are named; the file carries it as its type."""
    made = PrunedFile.of(model, recipe)
    number = file_type_of(made.model, made.tensor_types)
    name = next((preset for preset, its_number in FTYPES.items() if its_number == number), "Q8_0")
    return _NOT_A_BASE.get(name, name)


def quantize_command(
    recipe: Recipe,
    model: ModelFile,
    out: Path,
    *,
    source: Path | None = None,
    imatrix: Path | None = None,
    tensor_type_file: Path | None = None,
) -> str:
    """The command as a shell takes it, over several lines.

    Args:
        out: the GGUF to write.
        source: the model as it shall be named; by default its path here, which a published card should not tell.
        imatrix: the importance matrix that the recipe was made with; without it the bytes would be others.
        tensor_type_file: an exported file that names every tensor; without one, the command names them itself.
    """
    options: list[tuple[str, ...]] = []
    if imatrix is not None:
        options.append(("--imatrix", str(imatrix)))
    if _requantizes(recipe, model):
        options.append(("--allow-requantize",))
    if recipe.pruned_layers:
        options.append(("--prune-layers", ",".join(map(str, recipe.pruned_layers))))
    for flag, name in (("--token-embedding-type", TOKEN_EMBEDDING), ("--output-tensor-type", OUTPUT)):
        if name in recipe.tensor_types:
            options.append((flag, TENSOR_TYPES[recipe.tensor_types[name]].ggml_name))
    if tensor_type_file is not None:
        options.append(("--tensor-type-file", str(tensor_type_file)))
    else:
        inner = {name: given for name, given in explicit_types(recipe, model).items() if not _has_a_flag(name, recipe)}
        options += [("--tensor-type", word) for word in grouped_patterns(inner)]
    options.append((str(source or model.paths[0]), str(out), base_preset(recipe, model)))
    return " \\\n  ".join(["llama-quantize", *(shlex.join(words) for words in options)]) + "\n"


def grouped_patterns(types: Mapping[str, str]) -> list[str]:
    """`PATTERN=type` words that name exactly these tensors, one word for all layers in which a role has one type.

    `^blk\\.(0|1|7)\\.attn_v\\.weight$=q6_K`; the layers are listed, never a range, so that each is there to be seen.
    """
    layers: dict[tuple[str, str], list[int]] = defaultdict(list)
    words = []
    for name, given in types.items():
        layer = block_number(name)
        if layer < 0:
            words.append(f"{name_pattern(name)}={TENSOR_TYPES[given].ggml_name}")
        else:
            layers[name.removeprefix(f"blk.{layer}."), given].append(layer)
    for (role, given), numbers in layers.items():
        alternatives = "|".join(str(number) for number in numbers)
        tail = name_pattern(role).removeprefix("^")
        words.append(f"^blk\\.({alternatives})\\.{tail}={TENSOR_TYPES[given].ggml_name}")
    return words


def _has_a_flag(name: str, recipe: Recipe) -> bool:
    return name in (TOKEN_EMBEDDING, OUTPUT) and name in recipe.tensor_types


def _requantizes(recipe: Recipe, model: ModelFile) -> bool:
    """Whether a tensor that is already quantized gets another type."""
    sources = ((model.by_name[name].tensor_type, given) for name, given in recipe.kept_types.items())
    return any(TENSOR_TYPES[source].is_quantized and source != given for source, given in sources)
