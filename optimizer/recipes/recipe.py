"""A recipe: the type of every tensor that gets quantized, explicitly.

No preset, no counter and no bump is left in it. llama.cpp's presets count tensors as they go, so overriding some layers
shifts the types of all later ones; a recipe that names every tensor cannot be shifted.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile, block_number, parse_tensor_type
from optimizer.gguf.pruning import check_pruned_layers
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.recipes.fallback import fallback_type

PRUNED = "PRUNED"
"""In the place of a type: the tensor's whole layer is left out of the file."""
Fallbacks = Mapping[str, tuple[str, str]]
"""Tensor -> (type wanted, type given)."""


@dataclass(frozen=True, eq=False)
class Recipe:
    tensor_types: Mapping[str, str]
    """Every quantizable tensor -> its canonical tensor type, fallbacks resolved; PRUNED in layers that are left out.

    Tensors are named as in the source, also where layers before them are pruned.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensor_types", MappingProxyType(dict(self.tensor_types)))

    @cached_property
    def key(self) -> str:
        """Hex SHA-256 over the canonical JSON: equal for equal recipes, whatever the order they were built in."""
        text = json.dumps(dict(self.tensor_types), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def pruned_layers(self) -> tuple[int, ...]:
        """In ascending order; none but where the recipe says PRUNED."""
        return tuple(sorted({block_number(name) for name, given in self.tensor_types.items() if given == PRUNED}))

    @property
    def kept_types(self) -> dict[str, str]:
        """The types of the tensors that the file will have."""
        return {name: given for name, given in self.tensor_types.items() if given != PRUNED}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.tensor_types == other.tensor_types

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[Callable[..., "Recipe"], tuple[dict[str, str]]]:
        return Recipe, (dict(self.tensor_types),)

    def replace(self, changes: Mapping[str, str]) -> "Recipe":
        """The same recipe but for these tensors. KeyError for a tensor that it does not name."""
        for name in changes:
            _ = self.tensor_types[name]
        return Recipe({**self.tensor_types, **changes})

    def without_layers(self, layers: Collection[int]) -> "Recipe":
        """The same recipe with these layers pruned as well."""
        return Recipe({name: PRUNED if block_number(name) in layers else t for name, t in self.tensor_types.items()})


@dataclass(frozen=True, slots=True)
class ResolvedRecipe:
    """A recipe with what its maker should know about it."""

    recipe: Recipe
    fallbacks: Fallbacks
    notes: tuple[str, ...] = ()
    """Sentences for the plan: assumptions made, flags that change nothing."""


def complete_recipe(
    tensor_types: Mapping[str, str], model: ModelFile, quantizable: Iterable[str], notes: Iterable[str] = ()
) -> ResolvedRecipe:
    """Checks that exactly the quantizable tensors are named, reads the types in any case and resolves fallbacks.

    Raises RecipeError for a missing tensor, for one that llama.cpp would not quantize, and for no weight's type.
    """
    names = tuple(quantizable)
    _check_names(tensor_types, names)
    resolved: dict[str, str] = {}
    fallbacks: dict[str, tuple[str, str]] = {}
    for name in names:
        if tensor_types[name] == PRUNED:
            resolved[name] = PRUNED
            continue
        wanted = parse_tensor_type(tensor_types[name])
        if wanted not in TARGET_TYPES:
            raise RecipeError(f"{name}: ggml has {wanted}, but no weight can be quantized to it.")
        given = fallback_type(wanted, model.by_name[name].row_length)
        resolved[name] = given
        if given != wanted:
            fallbacks[name] = (wanted, given)
    check_whole_layers(Recipe(resolved), model)
    return ResolvedRecipe(Recipe(resolved), fallbacks, tuple(notes))


def check_whole_layers(recipe: Recipe, model: ModelFile) -> None:
    """Raises RecipeError where a layer is pruned that cannot be, or one is pruned in part."""
    layers = check_pruned_layers(model, recipe.pruned_layers) if recipe.pruned_layers else ()
    halves = [name for name in recipe.kept_types if block_number(name) in layers]
    if halves:
        raise RecipeError(
            f"{halves[0]} has a type, and its layer {block_number(halves[0])} is pruned. Say PRUNED to all."
        )


def _check_names(tensor_types: Mapping[str, str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in tensor_types]
    if missing:
        raise RecipeError(
            f"the recipe lacks {len(missing)} of {len(names)} tensors, the first is {missing[0]}. "
            "A recipe names the type of every quantizable tensor."
        )
    known = set(names)
    unknown = [name for name in tensor_types if name not in known]
    if unknown:
        raise RecipeError(
            f"the recipe names {unknown[0]}, which is no quantizable tensor of this model "
            f"({len(unknown)} such names). Was it made for another model?"
        )
