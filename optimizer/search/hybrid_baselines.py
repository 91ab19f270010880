"""Hand-made hybrids as rivals: the profile stretched to this depth, and lowered where it exceeds the budget.

A published profile was fitted to its own model's bytes. Where the stretched one is too large, layers go down to
smaller types of the ladder, as few bits as possible and none above the profile, until the file fits.
"""

import math
from collections.abc import Mapping

import numpy as np

from optimizer.errors import RecipeError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.hybrids import Hybrid, load_hybrids
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.resolve import LayerTypeNames, resolve_layer_types
from optimizer.recipes.roles import layers_of
from optimizer.recipes.sizes import SizeTable
from optimizer.search.knapsack import solve

LADDER = ("Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K")
"""What a layer may go down to."""


def fitted_hybrids(model: ModelFile, presets: PresetTable, sizes: SizeTable, budget_bytes: int) -> dict[str, Recipe]:
    """Name -> recipe within the budget; hybrids whose layer types this model cannot have are left out."""
    found = {}
    for name, hybrid in load_hybrids().items():
        try:
            recipe = _fitted(hybrid, model, presets, sizes, budget_bytes)
        except RecipeError:
            continue
        if recipe is not None:
            found[name] = recipe
    return found


def _fitted(
    hybrid: Hybrid, model: ModelFile, presets: PresetTable, sizes: SizeTable, budget_bytes: int
) -> Recipe | None:
    layer_types = hybrid.stretched(model.n_layer)
    recipe = resolve_layer_types(layer_types, model, presets).recipe
    excess = sizes.file_size(recipe, plain=False) - budget_bytes
    if excess <= 0:
        return recipe
    names = LayerTypeNames.of(layer_types, presets)
    layers = layers_of(presets.quantizable, model.n_layer)
    mixes = [_options(recipe, names, layer, roles, model, sizes) for layer, roles in layers.items() if roles]
    width = max(len(options) for options in mixes)
    costs = np.full((len(mixes), width), np.inf)
    bytes_of = np.zeros((len(mixes), width), dtype=np.int64)
    for row, options in enumerate(mixes):
        for column, mix in enumerate(options):
            costs[row, column] = _damage(mix, model)
            bytes_of[row, column] = _bytes(mix, sizes)
    room = int(bytes_of[:, 0].sum()) - excess
    try:
        choice = solve(costs, bytes_of, room).choice
    except ValueError:
        return None
    return recipe.replace(
        {k: v for options, index in zip(mixes, choice, strict=True) for k, v in options[index].items()}
    )


def _options(
    recipe: Recipe, names: LayerTypeNames, layer: int, roles: Mapping[str, str], model: ModelFile, sizes: SizeTable
) -> list[dict[str, str]]:
    """The profile's own mix of a layer first, then every smaller one of the ladder."""
    own = {tensor: recipe.tensor_types[tensor] for tensor in roles.values()}
    options = [own]
    for name in LADDER:
        wanted = names.types(name, layer, roles)
        mix = {t: fallback_type(wanted[role], model.by_name[t].shape[0]) for role, t in roles.items()}
        if _bytes(mix, sizes) < _bytes(own, sizes):
            options.append(mix)
    return options


def _bytes(mix: Mapping[str, str], sizes: SizeTable) -> int:
    return sum(sizes.tensor_bytes(tensor, tensor_type) for tensor, tensor_type in mix.items())


def _damage(mix: Mapping[str, str], model: ModelFile) -> float:
    """Every weight equally sensitive: error falls fourfold with each bit."""
    return math.fsum(model.by_name[t].n_elements * 4.0 ** -type_of(kind).bits_per_weight for t, kind in mix.items())
