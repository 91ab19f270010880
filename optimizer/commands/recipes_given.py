"""A recipe as a user gives it: LAYER_TYPES with flags, a preset's name, or a file that says it in one of these ways."""

from dataclasses import replace
from pathlib import Path

from optimizer.errors import ConfigError
from optimizer.export.tensor_type_file import read_tensor_type_file, types_by_pattern
from optimizer.gguf.model_file import ModelFile, block_number
from optimizer.gguf.pruning import check_pruned_layers, renumbered
from optimizer.gguf.tensor_types import parse_tensor_type
from optimizer.recipes.arguments import read_layer_types, read_recipe
from optimizer.recipes.flags import Flags, parse_layers
from optimizer.recipes.presets import PresetTable, load_presets
from optimizer.recipes.recipe import PRUNED, ResolvedRecipe, complete_recipe
from optimizer.recipes.resolve import resolve_layer_types


def flags_given(
    token_embedding_type: str | None, output_tensor_type: str | None, prune_layers: str | None = None
) -> Flags:
    def read(name: str | None) -> str | None:
        return None if name is None else parse_tensor_type(name)

    pruned = () if prune_layers is None else parse_layers(prune_layers)
    return Flags(read(token_embedding_type), read(output_tensor_type), prune_layers=pruned)


def recipe_from_layer_types_option(given: str, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    return resolve_layer_types(read_layer_types(given), model, presets, flags=flags)


def recipe_from_file(given: str, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    """A preset's name, or a file: JSON of tensor -> type, a GGUF of ours, LAYER_TYPES, or a tensor-type file.

    Layers that the flags prune are left out; a preset then gives the others what llama-quantize would.
    """
    check_pruned_layers(model, flags.prune_layers)
    path = Path(given)
    preset = presets.find(given)
    if preset is not None and not path.exists():
        if flags.prune_layers:
            preset = load_presets(model, imatrix=presets.imatrix, pruned=flags.prune_layers)[preset.name]
        return complete_recipe(preset.tensor_types, model, presets.quantizable)
    resolved = _from_file(path, flags, model, presets)
    if not flags.prune_layers:
        return resolved
    types = resolved.recipe.without_layers(flags.prune_layers).tensor_types
    return replace(complete_recipe(types, model, presets.quantizable, resolved.notes), fallbacks=resolved.fallbacks)


def _from_file(path: Path, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    if path.suffix == ".gguf":
        return read_recipe(path, model, presets)
    try:
        start = path.read_text(encoding="utf-8").lstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--recipe {path}: neither a preset's name nor a file that can be read ({error})") from None
    if start.startswith("{"):
        return read_recipe(path, model, presets)
    if start.startswith(("[", "LAYER_TYPES", "FLAGS", "#")):
        return resolve_layer_types(read_layer_types(str(path)), model, presets, flags=flags)
    # Patterns are searched where llama-quantize searches them: in names that pruned layers have renumbered.
    gone = check_pruned_layers(model, flags.prune_layers)
    names = {renumbered(name, gone): name for name in presets.quantizable if block_number(name) not in gone}
    found = types_by_pattern(read_tensor_type_file(start), names)
    types = dict.fromkeys({*presets.quantizable} - {*names.values()}, PRUNED)
    return complete_recipe(types | {names[new]: t for new, t in found.items()}, model, presets.quantizable)
