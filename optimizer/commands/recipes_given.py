"""A recipe as a user gives it: LAYER_TYPES with flags, a tensor-type file, or a preset's name."""

import json
from pathlib import Path

from optimizer.errors import ConfigError, RecipeError
from optimizer.export.tensor_type_file import read_tensor_type_file, types_by_pattern
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import parse_tensor_type
from optimizer.recipes.flags import Flags
from optimizer.recipes.layer_types import parse
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import ResolvedRecipe, complete_recipe
from optimizer.recipes.resolve import resolve_layer_types


def flags_given(token_embedding_type: str | None, output_tensor_type: str | None) -> Flags:
    def read(name: str | None) -> str | None:
        return None if name is None else parse_tensor_type(name)

    return Flags(read(token_embedding_type), read(output_tensor_type))


def text_or_file(given: str) -> str:
    """The text itself, or what the file of that name holds."""
    if given.lstrip().startswith(("[", "LAYER_TYPES", "FLAGS", "#")):
        return given
    path = Path(given).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{given}: neither a LAYER_TYPES list nor a file that holds one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{given} cannot be read: {error}") from None


def recipe_from_layer_types_option(
    given: str, flags: Flags, model: ModelFile, presets: PresetTable
) -> ResolvedRecipe:
    return resolve_layer_types(parse(text_or_file(given)), model, presets, flags=flags)


def recipe_from_file(given: str, flags: Flags, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    """`--recipe`: a preset's name, or a file with LAYER_TYPES, a tensor-type file, or JSON of tensor -> type."""
    preset = presets.find(given)
    if preset is not None and not Path(given).exists():
        return complete_recipe(preset.tensor_types, model, presets.quantizable)
    text = text_or_file(given)
    stripped = text.lstrip()
    if stripped.startswith("{"):
        try:
            types = json.loads(text)
        except json.JSONDecodeError as error:
            raise RecipeError(f"{given} is no readable JSON: {error}") from None
        return complete_recipe(types, model, presets.quantizable)
    if stripped.startswith(("[", "LAYER_TYPES", "FLAGS", "#")):
        return resolve_layer_types(parse(text), model, presets, flags=flags)
    return complete_recipe(
        types_by_pattern(read_tensor_type_file(text), presets.quantizable), model, presets.quantizable
    )
