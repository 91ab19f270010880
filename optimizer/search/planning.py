"""The plan: everything a search knows before it evaluates anything: presets, exact sizes, space, budgets, rivals."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np

from optimizer.config import SearchConfig, find_file
from optimizer.errors import ConfigError, GgufError, ImatrixError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import parse_tensor_type
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.quantization.imatrix import LOW_BIT_TYPES, Imatrix, needs_importance
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.layer_type_sets import file_presets
from optimizer.recipes.layer_types import LayerTypes, format_json
from optimizer.recipes.naming import layer_types_from_recipe
from optimizer.recipes.presets import PresetTable, load_presets
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.resolve import LayerTypeNames
from optimizer.recipes.roles import layers_of
from optimizer.recipes.sizes import SizeTable
from optimizer.search.baselines import (
    HYBRID,
    PRESET,
    UNIFORM,
    Baseline,
    nearest_first,
    rival_presets,
    uniform_fill,
)
from optimizer.search.budget import Budget, check_feasible, parse_budgets
from optimizer.search.hybrid_baselines import fitted_hybrids
from optimizer.search.space import SearchSpace, make_unit, with_baselines
from optimizer.search.units import group_tensors, layer_of

K_TENSOR_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
K_LAYER_TYPES = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q4_K_L",
    "Q5_K_S", "Q5_K_M", "Q5_K_L", "Q6_K", "Q6_K_M", "Q6_K_L", "Q8_0",
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """`space` includes the options that only baselines use; `baselines` are those that fit, by budget."""

    config: SearchConfig
    model: ModelFile
    imatrix: Imatrix | None
    presets: PresetTable
    sizes: SizeTable
    space: SearchSpace
    budgets: tuple[Budget, ...]
    baselines: Mapping[Budget, tuple[Baseline, ...]]

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Quantizable tensor -> its number of weights."""
        return quantizable_parameters(self.model, self.presets)

    @property
    def preset_bytes(self) -> dict[str, int]:
        """Preset -> bytes of the whole file as llama-quantize would write it."""
        return sized_presets(self.presets, self.sizes)

    @cached_property
    def rivals_only(self) -> frozenset[str]:
        """Baselines with types that proposals may not use: they are compared with, and never win."""
        rows = np.arange(len(self.space.units))
        return frozenset(
            baseline.name
            for group in self.baselines.values()
            for baseline in group
            if not self.space.allowed[rows, self.space.choice_of_recipe(baseline.recipe)].all()
        )

    @property
    def tensor_types(self) -> tuple[str, ...]:
        """Every tensor type that a proposal may use, few bits first."""
        used = {t for unit in self.space.units for o in unit.options if o.allowed for t in o.tensor_types.values()}
        return tuple(sorted(used, key=_bits))

    def resolve(self, tensor: str, wanted: str) -> str:
        """The type a tensor gets when `wanted` is asked for: what its rows and the imatrix's coverage allow."""
        given = fallback_type(wanted, self.model.by_name[tensor].shape[0])
        if not needs_importance(tensor, given) or (self.imatrix and self.imatrix.covered(tensor)):
            return given
        larger = [name for name in self.tensor_types if _bits(name) > _bits(given) and name not in LOW_BIT_TYPES]
        return fallback_type(larger[0] if larger else "Q8_0", self.model.by_name[tensor].shape[0])

    def layer_types(self, recipe: Recipe) -> LayerTypes:
        """The recipe in LAYER_TYPES and FLAGS, named by the search's own layer types where several would do."""
        preferred = self.config.types or K_LAYER_TYPES if self.config.units == "layers" else ()
        return layer_types_from_recipe(recipe, self.model, self.presets, preferred=preferred)

    def layer_types_line(self, recipe: Recipe) -> str:
        """LAYER_TYPES as one line of JSON, for tables."""
        return format_json(self.layer_types(recipe)).replace("\n", "")

    def bank_bytes(self) -> int:
        """Disk that the shards of all allowed options take, each made once."""
        return self.space.bank_bytes(self.sizes)


def make_plan(config: SearchConfig, *, beside: Path | None = None) -> Plan:
    """Plan a search; every refusal happens here, before anything is built or evaluated."""
    model = ModelFile.open(find_file(config.model, beside=beside))
    if model.quantized_source and not config.quantization.allow_requantize:
        raise GgufError(
            f"{model.paths[0]} is already quantized; search from an F16, BF16 or F32 file, "
            "or allow it with --set quantization.allow_requantize=true"
        )
    if not model.has_tokenizer:
        raise GgufError(
            f"{model.paths[0]} holds no tokenizer, so no text can be scored; convert the model with its vocabulary"
        )
    imatrix = open_imatrix(config.imatrix, model, beside=beside)
    presets = load_presets(model, imatrix=imatrix is not None)
    sizes = SizeTable(model, presets.quantizable)
    space = build_space(config, model, presets, sizes, imatrix)
    budgets = parse_budgets(config.budget, sized_presets(presets, sizes), model.n_elements)
    for budget in budgets:
        check_feasible(budget, space.smallest_bytes, space.largest_bytes)
    baselines = {budget: _baselines(config, model, presets, sizes, space, budget) for budget in budgets}
    recipes = [(baseline.name, baseline.recipe) for group in baselines.values() for baseline in group]
    return Plan(config, model, imatrix, presets, sizes, with_baselines(space, recipes, sizes), budgets, baselines)


def open_imatrix(name: str | None, model: ModelFile, *, beside: Path | None = None) -> Imatrix | None:
    if name is None or name == "none":
        return None
    if name == "auto":
        raise ImatrixError(
            "--imatrix auto: layerquant cannot make an importance matrix yet; "
            "make one with llama-imatrix and give its file"
        )
    imatrix = Imatrix.open(find_file(name, beside=beside))
    imatrix.check_model(model.tensors)
    return imatrix


def quantizable_parameters(model: ModelFile, presets: PresetTable) -> dict[str, int]:
    return {name: prod(model.by_name[name].shape) for name in presets.quantizable}


def sized_presets(presets: PresetTable, sizes: SizeTable) -> dict[str, int]:
    return {name: sizes.file_size(Recipe(p.tensor_types), plain=True) for name, p in presets.presets.items()}


def build_space(
    config: SearchConfig, model: ModelFile, presets: PresetTable, sizes: SizeTable, imatrix: Imatrix | None
) -> SearchSpace:
    """Units with their allowed options; pinned tensors are units of their own with one option."""
    pins = _pinned(config.pins, presets.quantizable)
    free = [tensor for tensor in presets.quantizable if tensor not in pins]
    if not free:
        raise ConfigError("the pins leave nothing to search: every quantizable tensor is pinned")
    names = config.types or (K_LAYER_TYPES if config.units == "layers" else K_TENSOR_TYPES)

    def resolved(tensors: Sequence[str], wanted: str) -> dict[str, str]:
        return {tensor: fallback_type(wanted, model.by_name[tensor].shape[0]) for tensor in tensors}

    if config.units == "layers":
        mixes_by_layer = _layer_mixes(names, model, presets)
        tensor_types = tuple(
            {t: None for mixes in mixes_by_layer.values() for mix in mixes.values() for t in mix.values()}
        )
    else:
        tensor_types = tuple(dict.fromkeys(parse_tensor_type(name) for name in names))
    _check_imatrix(tensor_types, imatrix)
    units = []
    for unit_name, tensors in group_tensors(free, config.units).items():
        layer = layer_of(tensors[0])
        if config.units == "layers" and layer is not None:
            mixes = {name: {t: mix[t] for t in tensors} for name, mix in mixes_by_layer[layer].items()}
        else:
            mixes = {name: resolved(tensors, name) for name in sorted(tensor_types, key=_bits)}
        units.append(make_unit(unit_name, tensors, _coverable(unit_name, mixes, imatrix), sizes))
    for tensor, tensor_type in pins.items():
        pinned = _coverable(f"pinned {tensor}", {tensor_type: resolved([tensor], tensor_type)}, imatrix)
        units.append(make_unit(tensor.removesuffix(".weight"), (tensor,), pinned, sizes))
    if all(len(unit.options) == 1 for unit in units):
        raise ConfigError(
            f"nothing to choose between: {', '.join(names)} gives every unit one option; name more with --types"
        )
    smallest = Recipe({t: types for unit in units for t, types in unit.options[0].tensor_types.items()})
    overhead = sizes.file_size(smallest, plain=False) - sum(unit.options[0].n_bytes for unit in units)
    return SearchSpace(tuple(units), overhead)


def _layer_mixes(names: Sequence[str], model: ModelFile, presets: PresetTable) -> dict[int, dict[str, dict[str, str]]]:
    """Layer -> layer type -> tensor -> type, as each name reads at that layer of this model."""
    known = LayerTypeNames.of(LayerTypes(()), presets)
    return {
        layer: {
            name: {
                roles[role]: fallback_type(wanted, model.by_name[roles[role]].shape[0])
                for role, wanted in known.types(name, layer, roles).items()
            }
            for name in names
        }
        for layer, roles in layers_of(presets.quantizable, model.n_layer).items()
        if roles
    }


def _baselines(
    config: SearchConfig,
    model: ModelFile,
    presets: PresetTable,
    sizes: SizeTable,
    space: SearchSpace,
    budget: Budget,
) -> tuple[Baseline, ...]:
    found: list[Baseline] = []
    wanted = config.baselines
    if wanted.presets:
        for name, recipe in rival_presets(presets).items():
            found.append(Baseline(name, PRESET, recipe, sizes.file_size(recipe, plain=True)))
    if wanted.variants:
        for name, resolved in file_presets(model, presets).items():
            found.append(
                Baseline(f"{name} (file)", HYBRID, resolved.recipe, sizes.file_size(resolved.recipe, plain=True))
            )
    if wanted.uniform:
        recipe = uniform_fill(space, quantizable_parameters(model, presets), budget.n_bytes)
        found.append(Baseline("uniform", UNIFORM, recipe, sizes.file_size(recipe, plain=False)))
    if wanted.hybrids:
        for name, recipe in fitted_hybrids(model, presets, sizes, budget.n_bytes).items():
            found.append(Baseline(name, HYBRID, recipe, sizes.file_size(recipe, plain=False)))
    return nearest_first(found, budget.n_bytes)


def _pinned(pins: Mapping[str, str], tensors: Sequence[str]) -> dict[str, str]:
    """Tensor -> type; the first pattern that matches holds, as in llama-quantize."""
    pinned: dict[str, str] = {}
    for pattern, type_name in pins.items():
        tensor_type = parse_tensor_type(type_name)
        try:
            matching = [tensor for tensor in tensors if re.search(pattern, tensor)]
        except re.error as error:
            raise ConfigError(f"pin {pattern!r} is no regular expression: {error}") from None
        if not matching:
            raise ConfigError(f"pin {pattern!r} matches no quantizable tensor of this model, for example {tensors[0]}")
        for tensor in matching:
            pinned.setdefault(tensor, tensor_type)
    return pinned


def _check_imatrix(tensor_types: Sequence[str], imatrix: Imatrix | None) -> None:
    needing = [name for name in tensor_types if name in LOW_BIT_TYPES]
    if needing and imatrix is None:
        raise ImatrixError(
            f"{', '.join(needing)} need an importance matrix; give one with --imatrix FILE, "
            "or leave them out of --types"
        )


def _coverable(
    unit: str, mixes: Mapping[str, Mapping[str, str]], imatrix: Imatrix | None
) -> dict[str, Mapping[str, str]]:
    """The mixes that can be made: very low types only where the imatrix has values. ImatrixError when none is left."""
    made = {
        name: mix
        for name, mix in mixes.items()
        if not any(needs_importance(t, kind) and not (imatrix and imatrix.covered(t)) for t, kind in mix.items())
    }
    if not made:
        where = f"{imatrix.path} has none for it" if imatrix else "none was given"
        raise ImatrixError(
            f"{unit}: {', '.join(mixes)} need an importance matrix, and {where}; allow it a larger type as well"
        )
    return made


def _bits(tensor_type: str) -> tuple[float, str]:
    return type_of(tensor_type).bits_per_weight, tensor_type
