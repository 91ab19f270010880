"""The search space: units, the options of each, and the exact bytes of every choice.

A choice is an integer vector with one option index a unit. Options that only a baseline uses are part of the space, so
that baselines can be written in its terms, but are not allowed to proposals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from optimizer.errors import RecipeError
from optimizer.recipes.recipe import Recipe

Integers = npt.NDArray[np.int64]


class TensorSizes(Protocol):
    """What the space needs to know of bytes (`optimizer.recipes.sizes.SizeTable`)."""

    def tensor_bytes(self, name: str, tensor_type: str) -> int: ...


@dataclass(frozen=True)
class Option:
    """One way to quantize a unit: every tensor's type, the padded bytes of all, and whether proposals may use it."""

    name: str
    tensor_types: Mapping[str, str]
    n_bytes: int
    allowed: bool = True


@dataclass(frozen=True)
class Unit:
    """`seen`: whether evaluations run its tensors (`optimizer.search.unseen`)."""

    name: str
    tensors: tuple[str, ...]
    options: tuple[Option, ...]
    seen: bool = True


@dataclass(frozen=True)
class SearchSpace:
    """`overhead_bytes`: everything of the file that no choice changes (header, unquantized tensors, metadata block)."""

    units: tuple[Unit, ...]
    overhead_bytes: int

    @cached_property
    def shape(self) -> tuple[int, int]:
        return len(self.units), max(len(unit.options) for unit in self.units)

    @cached_property
    def sizes(self) -> Integers:
        """[units, options] bytes; 0 where a unit has fewer options."""
        table = np.zeros(self.shape, dtype=np.int64)
        for row, unit in enumerate(self.units):
            table[row, : len(unit.options)] = [option.n_bytes for option in unit.options]
        return table

    @cached_property
    def allowed(self) -> npt.NDArray[np.bool_]:
        """[units, options] whether a proposal may choose it."""
        table = np.zeros(self.shape, dtype=np.bool_)
        for row, unit in enumerate(self.units):
            table[row, : len(unit.options)] = [option.allowed for option in unit.options]
        return table

    @cached_property
    def smallest_bytes(self) -> int:
        largest = np.iinfo(np.int64).max
        return self.overhead_bytes + int(np.where(self.allowed, self.sizes, largest).min(axis=1).sum())

    @cached_property
    def largest_bytes(self) -> int:
        return self.overhead_bytes + int(np.where(self.allowed, self.sizes, 0).max(axis=1).sum())

    def file_bytes(self, choice: Integers) -> int:
        """Size of the exported file, metadata block included."""
        return self.overhead_bytes + int(self.sizes[np.arange(len(self.units)), choice].sum())

    def is_own(self, choice: Integers) -> bool:
        """Whether all options may be proposed; what no evaluation sees may be as in any baseline."""
        allowed = self.allowed[np.arange(len(self.units)), choice]
        return bool((allowed | ~self._seen).all())

    def recipe(self, choice: Integers) -> Recipe:
        types: dict[str, str] = {}
        for unit, index in zip(self.units, choice, strict=True):
            types.update(unit.options[int(index)].tensor_types)
        return Recipe(types)

    def params(self, choice: Integers) -> dict[str, str]:
        """Unit name -> option name, as Optuna and the store keep it."""
        return {unit.name: unit.options[int(index)].name for unit, index in zip(self.units, choice, strict=True)}

    def choice_of_params(self, params: Mapping[str, str]) -> Integers:
        return np.array(
            [self._option_index[unit.name][params[unit.name]] for unit in self.units],
            dtype=np.int64,
        )

    def choice_of_recipe(self, recipe: Recipe) -> Integers:
        """Raises RecipeError when a unit has no option with the recipe's types."""
        choice = []
        for unit in self.units:
            wanted = {tensor: recipe.tensor_types[tensor] for tensor in unit.tensors}
            index = next((i for i, option in enumerate(unit.options) if option.tensor_types == wanted), None)
            if index is None:
                raise RecipeError(f"the search space has no option of {unit.name} with the types {wanted}")
            choice.append(index)
        return np.array(choice, dtype=np.int64)

    def bank_bytes(self, sizes: TensorSizes) -> int:
        """Disk that the shards of all allowed options take, each made once."""
        options = [option for unit in self.units for option in unit.options if option.allowed]
        pairs = {pair for option in options for pair in option.tensor_types.items()}
        return sum(sizes.tensor_bytes(tensor, tensor_type) for tensor, tensor_type in pairs)

    @cached_property
    def _seen(self) -> npt.NDArray[np.bool_]:
        return np.array([unit.seen for unit in self.units], dtype=np.bool_)

    @cached_property
    def _option_index(self) -> dict[str, dict[str, int]]:
        return {unit.name: {option.name: i for i, option in enumerate(unit.options)} for unit in self.units}


def make_unit(
    name: str,
    tensors: Sequence[str],
    mixes: Mapping[str, Mapping[str, str]],
    sizes: TensorSizes,
    *,
    allowed: bool = True,
) -> Unit:
    """A unit from named mixes (tensor -> type); mixes that come out equal keep the first name."""
    unit = Unit(name, tuple(tensors), ())
    for option_name, mix in mixes.items():
        unit = with_option(unit, option_name, mix, sizes, allowed=allowed)
    return unit


def with_option(unit: Unit, name: str, mix: Mapping[str, str], sizes: TensorSizes, *, allowed: bool) -> Unit:
    """The unit with one option more, unless it has one of these very types."""
    types = {tensor: mix[tensor] for tensor in unit.tensors}
    if any(option.tensor_types == types for option in unit.options):
        return unit
    taken = {option.name for option in unit.options}
    free_name, suffix = name, 2
    while free_name in taken:
        free_name, suffix = f"{name}#{suffix}", suffix + 1
    n_bytes = sum(sizes.tensor_bytes(tensor, tensor_type) for tensor, tensor_type in types.items())
    return replace(unit, options=(*unit.options, Option(free_name, types, n_bytes, allowed)))


def with_baselines(space: SearchSpace, recipes: Iterable[tuple[str, Recipe]], sizes: TensorSizes) -> SearchSpace:
    """The space with whatever options the baselines need, not allowed to proposals."""
    units = []
    named = list(recipes)
    for unit in space.units:
        for name, recipe in named:
            mix = {tensor: recipe.tensor_types[tensor] for tensor in unit.tensors}
            distinct = sorted(set(mix.values()))
            unit = with_option(unit, distinct[0] if len(distinct) == 1 else name, mix, sizes, allowed=False)
        units.append(unit)
    return SearchSpace(tuple(units), space.overhead_bytes)
