"""The plan: everything a search knows before it evaluates anything: presets, exact sizes, space, budgets, rivals."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from optimizer.config import SearchConfig
from optimizer.errors import GgufError, ImatrixError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.named_files import find_file, find_suite
from optimizer.quantization.imatrix import LOW_BIT_TYPES, Imatrix, needs_importance
from optimizer.quantization.imatrix_pairs import with_imatrix_pairs
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.layer_type_sets import file_presets, load_definitions
from optimizer.recipes.layer_types import LayerTypes, format_json
from optimizer.recipes.naming import LayerNames
from optimizer.recipes.presets import PresetTable, load_presets
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.sizes import SizeTable
from optimizer.search.baselines import (
    HYBRID,
    PRESET,
    UNIFORM,
    Baseline,
    can_be_made,
    nearest_first,
    rival_presets,
    uniform_fill,
)
from optimizer.search.budget import Budget, parse_budgets
from optimizer.search.hybrid_baselines import fitted_hybrids
from optimizer.search.prune_settings import check_prune
from optimizer.search.scorable import check_scorable
from optimizer.search.sensitivity_shares import GivenShares, shares_of
from optimizer.search.sensitivity_table import SensitivityTable
from optimizer.search.space import SearchSpace, with_baselines
from optimizer.search.space_building import K_LAYER_TYPES, build_space, check_budgets
from optimizer.search.suites import SuiteChoice, choose_suite
from optimizer.search.unseen import settle_unseen
from optimizer.sources import open_model


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
    given: GivenShares | None = None
    """Sensitivities taken from a file in place of probes."""
    prompts: SuiteChoice | None = None

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
        return frozenset(
            baseline.name
            for group in self.baselines.values()
            for baseline in group
            if not self.space.is_own(self.space.choice_of_recipe(baseline.recipe))
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

    @cached_property
    def layer_names(self) -> LayerNames:
        """They prefer the search's own layer types where several would do."""
        preferred = self.config.types or K_LAYER_TYPES if self.config.units == "layers" else ()
        return LayerNames(self.model, self.presets, load_definitions(), preferred)

    def layer_types(self, recipe: Recipe) -> LayerTypes:
        """The recipe in LAYER_TYPES and FLAGS."""
        return self.layer_names.layer_types(recipe)

    def layer_types_line(self, recipe: Recipe) -> str:
        """LAYER_TYPES as one line of JSON, for tables."""
        return format_json(self.layer_types(recipe)).replace("\n", "")

    def bank_bytes(self) -> int:
        """Disk that the shards of all allowed options take, each made once."""
        return self.space.bank_bytes(self.sizes)


def make_plan(config: SearchConfig, *, beside: Path | None = None) -> Plan:
    """Plan a search; every refusal happens here, before anything is built or evaluated."""
    model = open_model(config.model, beside=beside)
    if model.quantized_source and not config.quantization.allow_requantize:
        raise GgufError(
            f"{model.paths[0]} is already quantized; search from an F16, BF16 or F32 file, "
            "or allow it with --set quantization.allow_requantize=true"
        )
    if not model.has_tokenizer:
        raise GgufError(
            f"{model.paths[0]} holds no tokenizer, so no text can be scored; convert the model with its vocabulary"
        )
    check_scorable(model)
    check_prune(config, model)
    imatrix = open_imatrix(config.imatrix, model, beside=beside)
    model = with_imatrix_pairs(model, imatrix)
    presets = load_presets(model, imatrix=imatrix is not None)
    sizes = SizeTable(model, presets.quantizable)
    space = build_space(config, model, presets, sizes, imatrix)
    budgets = parse_budgets(config.budget, sized_presets(presets, sizes), model.n_elements)
    check_budgets(budgets, space, config.pins)
    parameters = quantizable_parameters(model, presets)
    space = settle_unseen(space, model, parameters, budgets[0].n_bytes)
    check_budgets(budgets, space, config.pins)
    prompts = choose_suite(config, beside=beside)
    config = config.model_copy(update=_absolute(config, beside))
    given = None
    if config.sensitivities is not None:
        path = find_file(config.sensitivities, beside=beside).resolve()
        config = config.model_copy(update={"sensitivities": str(path)})  # a resumed study may start in another folder
        given = shares_of(SensitivityTable.read(path), parameters, model.by_name)
    baselines = {budget: _baselines(config, model, presets, imatrix, sizes, space, budget) for budget in budgets}
    recipes = [(baseline.name, baseline.recipe) for group in baselines.values() for baseline in group]
    whole = with_baselines(space, recipes, sizes)
    return Plan(config, model, imatrix, presets, sizes, whole, budgets, baselines, given, prompts)


def _absolute(config: SearchConfig, beside: Path | None) -> dict[str, object]:
    """Files of prompts by their whole path: a resumed study may start in another folder."""
    changes: dict[str, object] = {}
    if config.prompts is not None and config.prompts != find_suite(config.prompts, beside=beside).stem:
        changes["prompts"] = str(find_suite(config.prompts, beside=beside).resolve())
    template = config.generation.chat_template
    if template is not None:
        path = str(find_file(template, beside=beside).resolve())
        changes["generation"] = config.generation.model_copy(update={"chat_template": path})
    return changes


def open_imatrix(name: str | None, model: ModelFile, *, beside: Path | None = None) -> Imatrix | None:
    if name is None or name == "none":
        return None
    if name == "auto":
        raise ImatrixError(
            "imatrix auto: only search and probe make an importance matrix for themselves; make one first: "
            f"layerquant imatrix {model.paths[0]} --text FILE -o imatrix.gguf, and give it with --imatrix"
        )
    imatrix = Imatrix.open(find_file(name, beside=beside))
    imatrix.check_model(model.tensors)
    return imatrix


def quantizable_parameters(model: ModelFile, presets: PresetTable) -> dict[str, int]:
    return {name: prod(model.by_name[name].shape) for name in presets.quantizable}


def sized_presets(presets: PresetTable, sizes: SizeTable) -> dict[str, int]:
    return {name: sizes.file_size(Recipe(p.tensor_types), plain=True) for name, p in presets.presets.items()}


def _baselines(
    config: SearchConfig,
    model: ModelFile,
    presets: PresetTable,
    imatrix: Imatrix | None,
    sizes: SizeTable,
    space: SearchSpace,
    budget: Budget,
) -> tuple[Baseline, ...]:
    found: list[Baseline] = []
    wanted = config.baselines
    if wanted.presets:
        for name, recipe in rival_presets(presets, imatrix).items():
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
    return nearest_first([each for each in found if can_be_made(each.recipe, imatrix)], budget.n_bytes)


def _bits(tensor_type: str) -> tuple[float, str]:
    return type_of(tensor_type).bits_per_weight, tensor_type
