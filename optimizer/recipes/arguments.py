"""What people give for a recipe on the command line: a string, a file of one, a hybrid, or a finished GGUF."""

import json
from pathlib import Path
from typing import Any

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile, read_header
from optimizer.gguf.provenance import KEY, read_block
from optimizer.recipes.hybrids import read_hybrid
from optimizer.recipes.layer_types import LayerTypes, parse
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import ResolvedRecipe, complete_recipe


def is_layer_types(argument: str) -> bool:
    """Whether it is LAYER_TYPES itself, and not the name of a file."""
    return argument.lstrip().startswith("[") or ("LAYER_TYPES" in argument and "=" in argument)


def read_layer_types(argument: str) -> LayerTypes:
    """LAYER_TYPES given as JSON, in its shell form, as a file of either, or as a hybrid's YAML file.

    Raises RecipeError where it is none of them.
    """
    if is_layer_types(argument):
        return parse(argument)
    path = Path(argument)
    if path.suffix in (".yaml", ".yml"):
        return read_hybrid(path).layer_types
    return parse(_read(path, "LAYER_TYPES"))


def read_recipe(path: Path, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    """A recipe of explicit tensor types, for this model.

    The file is a JSON object (tensor -> type), the same under the key "tensor_types", or a GGUF made by this program.
    """
    if path.suffix == ".gguf":
        return _from_gguf(path, model, presets)
    try:
        document: Any = json.loads(_read(path, "a recipe"))
    except json.JSONDecodeError as error:
        raise RecipeError(f"{path}: no JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    types = document.get("tensor_types", document) if isinstance(document, dict) else None
    if not isinstance(types, dict) or not all(isinstance(given, str) for given in types.values()):
        raise RecipeError(f'{path}: a recipe is a JSON object {{"blk.0.attn_v.weight": "Q6_K", ...}}.')
    return complete_recipe(types, model, presets.quantizable)


def _from_gguf(path: Path, model: ModelFile, presets: PresetTable) -> ResolvedRecipe:
    text = read_header(path).metadata.text(KEY)
    if text is None:
        raise RecipeError(f"{path}: carries no recipe ({KEY} is not in its metadata). Give a recipe's JSON file.")
    types, _ = read_block(text, presets.quantizable)
    return complete_recipe(types or {}, model, presets.quantizable)


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise RecipeError(f"{str(path)[:200]}: {what} cannot be read from there: {reason}.") from error
