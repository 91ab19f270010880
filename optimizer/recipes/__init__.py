"""From names to tensor types to exact bytes: presets, layer types, LAYER_TYPES strings, recipes, sizes.

It may read GGUF headers and ask llama.cpp, in a child process, what its presets mean. It quantizes nothing.
"""

from optimizer.recipes.arguments import read_layer_types, read_recipe
from optimizer.recipes.flags import Flags, parse_flags
from optimizer.recipes.hybrids import Hybrid, load_hybrids
from optimizer.recipes.imatrix_rules import requires_imatrix
from optimizer.recipes.layer_type_sets import FILE_PRESETS, file_presets, load_definitions
from optimizer.recipes.layer_types import LayerTypes, format_json, format_shell, parse
from optimizer.recipes.naming import layer_types_from_recipe
from optimizer.recipes.presets import Preset, PresetTable, load_presets
from optimizer.recipes.recipe import Recipe, ResolvedRecipe, complete_recipe
from optimizer.recipes.resolve import recipe_from_layer_types, resolve_layer_types
from optimizer.recipes.sizes import SizeTable

__all__ = [
    "FILE_PRESETS",
    "Flags",
    "Hybrid",
    "LayerTypes",
    "Preset",
    "PresetTable",
    "Recipe",
    "ResolvedRecipe",
    "SizeTable",
    "complete_recipe",
    "file_presets",
    "format_json",
    "format_shell",
    "layer_types_from_recipe",
    "load_definitions",
    "load_hybrids",
    "load_presets",
    "parse",
    "parse_flags",
    "read_layer_types",
    "read_recipe",
    "recipe_from_layer_types",
    "requires_imatrix",
    "resolve_layer_types",
]
