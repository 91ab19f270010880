"""A recipe as a user gives it: LAYER_TYPES with flags, a preset's name, or a file that says it in one of these ways."""

from pathlib import Path

from optimizer.errors import ConfigError
from optimizer.export.tensor_type_file import read_tensor_type_file, types_by_pattern
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import parse_tensor_type
from optimizer.recipes.arguments import read_layer_types, read_recipe
from optimizer.recipes.flags import Flags
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import ResolvedRecipe, complete_recipe
from optimizer.recipes.resolve import resolve_layer_types


def flags_given(token_embedding_type: str | None, output_tensor_type: str | None) -> Flags:
    def read(name: str | None) -> str | None:
        return None if name is None else parse_tensor_type(name)

    return Flags(read(token_embedding_type), read(output_tensor_type))


def recipe_from_layer_types_option(given: str, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    return resolve_layer_types(read_layer_types(given), model, presets, flags=flags)


def recipe_from_file(given: str, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    """A preset's name, or a file: JSON of tensor -> type, a GGUF of ours, LAYER_TYPES, or a tensor-type file."""
    path = Path(given)
    preset = presets.find(given)
    if preset is not None and not path.exists():
        return complete_recipe(preset.tensor_types, model, presets.quantizable)
    if path.suffix == ".gguf":
        return read_recipe(path, model, presets)
    try:
        start = path.read_text(encoding="utf-8").lstrip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--recipe {given}: neither a preset's name nor a file that can be read ({error})") from None
    if start.startswith("{"):
        return read_recipe(path, model, presets)
    if start.startswith(("[", "LAYER_TYPES", "FLAGS", "#")):
        return resolve_layer_types(read_layer_types(given), model, presets, flags=flags)
    types = types_by_pattern(read_tensor_type_file(start), presets.quantizable)
    return complete_recipe(types, model, presets.quantizable)
