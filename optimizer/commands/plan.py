"""`layerquant plan`: sizes, presets and the feasible range of a model; nothing is evaluated."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optimizer.commands.options import (
    AllowRequantize,
    Bounds,
    EmbeddingType,
    Imatrix,
    Json,
    LayerTypesOption,
    Model,
    OutputType,
    Pins,
)  # fmt: skip
from optimizer.commands.plan_shown import show_plan
from optimizer.commands.recipes_given import flags_given, recipe_from_layer_types_option
from optimizer.commands.shown import print_json
from optimizer.config import SearchConfig
from optimizer.errors import GgufError
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization.imatrix import Imatrix as ImportanceMatrix
from optimizer.quantization.imatrix_coverage import uncovered_notes
from optimizer.quantization.imatrix_pairs import with_imatrix_pairs
from optimizer.recipes.presets import PresetTable, load_presets
from optimizer.recipes.recipe import ResolvedRecipe
from optimizer.recipes.sizes import SizeTable
from optimizer.search.budget import Budget, parse_budgets
from optimizer.search.constraints import constraints_from_flags
from optimizer.search.model_notes import FallbackGroup, fallback_groups, model_notes
from optimizer.search.planning import open_imatrix, sized_presets
from optimizer.search.space import SearchSpace
from optimizer.search.space_building import build_space, check_budgets
from optimizer.sources import open_model

DEFAULT_BUDGET = "IQ4_XS"


@dataclass(frozen=True)
class Planned:
    """Sizes of one model within one space. `budgets`: small first; `resolved`: of a LAYER_TYPES string."""

    model: str
    file: ModelFile
    presets: PresetTable
    sizes: SizeTable
    space: SearchSpace
    budgets: tuple[Budget, ...]
    resolved: ResolvedRecipe | None
    units: str
    imatrix: ImportanceMatrix | None

    @cached_property
    def preset_bytes(self) -> dict[str, int]:
        return sized_presets(self.presets, self.sizes)

    @property
    def recipe_bytes(self) -> int | None:
        return self.sizes.file_size(self.resolved.recipe, plain=True) if self.resolved else None

    @cached_property
    def fallbacks(self) -> Sequence[FallbackGroup]:
        return fallback_groups(self.file, self.sizes, self.presets.quantizable)

    @property
    def notes(self) -> list[str]:
        uncovered = [] if self.imatrix is None else uncovered_notes(self.imatrix, self.presets.quantizable)
        return [*model_notes(self.file, self.fallbacks), *uncovered]

    def as_json(self) -> dict[str, Any]:
        """`plan --json`."""
        file, presets, space, chosen, resolved = self.file, self.presets, self.space, self.budgets[0], self.resolved
        result: dict[str, Any] = {
            "model": self.model,
            "name": file.name,
            "architecture": file.architecture,
            "n_layer": file.n_layer,
            "parameters": file.n_elements,
            "source_bytes": _source_bytes(file),
            "budget": chosen.text,
            "budget_bytes": chosen.n_bytes,
            "budgets": [{"budget": each.text, "budget_bytes": each.n_bytes} for each in self.budgets],
            "bank_bytes": space.bank_bytes(self.sizes),
            "feasible_bytes": {"min": space.smallest_bytes, "max": space.largest_bytes},
            "presets": self.preset_bytes,
            "presets_needing_imatrix": [name for name, preset in presets.presets.items() if preset.needs_imatrix],
            "fallbacks": {name: dict(p.fallbacks) for name, p in presets.presets.items() if p.fallbacks},
            "fallback_groups": [group.as_json() for group in self.fallbacks],
            "notes": self.notes,
            "search": {"units": self.units, "parts": len(space.units), "options": space.shape[1]},
        }
        if resolved is not None:
            result |= {"recipe_bytes": self.recipe_bytes, "recipe_notes": list(resolved.notes)}
            result |= {"recipe_fallbacks": dict(resolved.fallbacks)}
        return result


def planned(
    model: str,
    budget: str | None = None,
    *,
    imatrix: str | None = None,
    layer_types: str | None = None,
    token_embedding_type: str | None = None,
    output_tensor_type: str | None = None,
    units: str = "layers",
    types: str | None = None,
    pins: Sequence[str] | None = None,
    bounds: Sequence[str] | None = None,
    allow_requantize: bool = False,
) -> Planned:
    """What `plan` shows. Raises GgufError, BudgetError, ImatrixError, RecipeError or ConfigError."""
    file = open_model(model, planning=True)
    if file.quantized_source and not allow_requantize:
        raise GgufError(f"{model} is already quantized; plan from its F16, BF16 or F32 file, or add --allow-requantize")
    importance = open_imatrix(imatrix, file)
    file = with_imatrix_pairs(file, importance)
    presets = load_presets(file, imatrix=importance is not None)
    sizes = SizeTable(file, presets.quantizable)
    settings: dict[str, Any] = {"model": str(model), "units": units} | ({"types": types} if types else {})
    config = SearchConfig.load(None, settings | constraints_from_flags(list(pins or []), list(bounds or [])))
    space = build_space(config, file, presets, sizes, importance)
    budgets = parse_budgets(budget or DEFAULT_BUDGET, sized_presets(presets, sizes), file.n_elements)
    check_budgets(budgets if budget is not None else (), space, config.pins)
    resolved = None
    if layer_types is not None:
        flags = flags_given(token_embedding_type, output_tensor_type)
        resolved = recipe_from_layer_types_option(layer_types, flags, file, presets)
    return Planned(str(model), file, presets, sizes, space, budgets, resolved, units, importance)


def plan(
    model: Model,
    budget: str | None = None,
    imatrix: Imatrix = None,
    layer_types: LayerTypesOption = None,
    token_embedding_type: EmbeddingType = None,
    output_tensor_type: OutputType = None,
    units: str = "layers",
    types: str | None = None,
    pins: Pins = None,
    bounds: Bounds = None,
    allow_requantize: AllowRequantize = False,
    as_json: Json = False,
) -> None:
    """Sizes only: every preset's bytes, the feasible range, and what a LAYER_TYPES string would weigh.

    Reads the header alone; a file that ends behind its header is planned too.
    """
    found = planned(
        model, budget, imatrix=imatrix, layer_types=layer_types, token_embedding_type=token_embedding_type,
        output_tensor_type=output_tensor_type, units=units, types=types, pins=pins, bounds=bounds,
        allow_requantize=allow_requantize,
    )  # fmt: skip
    if as_json:
        print_json(found.as_json())
    else:
        show_plan(found.as_json())


def _source_bytes(file: ModelFile) -> int:
    """Of the whole model, also where its header alone is there."""
    return sum(max(header.size_bytes, header.required_bytes) for header in file.headers)
