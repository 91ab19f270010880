"""`layerquant plan`: sizes, presets and the feasible range of a model; nothing is evaluated."""

from pathlib import Path
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
from optimizer.commands.recipes_given import flags_given, recipe_from_layer_types_option
from optimizer.commands.shown import out, preset_table, print_json
from optimizer.config import SearchConfig
from optimizer.errors import GgufError
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.presets import load_presets
from optimizer.recipes.recipe import ResolvedRecipe
from optimizer.recipes.sizes import SizeTable
from optimizer.search.budget import parse_budgets, show_bytes
from optimizer.search.constraints import constraints_from_flags
from optimizer.search.model_notes import fallback_groups, model_notes
from optimizer.search.planning import open_imatrix, sized_presets
from optimizer.search.space_building import build_space, check_budgets
from optimizer.sources import open_model

DEFAULT_BUDGET = "IQ4_XS"


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
    file = open_model(model, planning=True)
    if file.quantized_source and not allow_requantize:
        raise GgufError(f"{model} is already quantized; plan from its F16, BF16 or F32 file, or add --allow-requantize")
    importance = open_imatrix(imatrix, file)
    presets = load_presets(file, imatrix=importance is not None)
    sizes = SizeTable(file, presets.quantizable)
    settings: dict[str, Any] = {"model": str(model), "units": units} | ({"types": types} if types else {})
    config = SearchConfig.load(None, settings | constraints_from_flags(pins or [], bounds or []))
    space = build_space(config, file, presets, sizes, importance)
    preset_bytes = sized_presets(presets, sizes)
    budgets = parse_budgets(budget or DEFAULT_BUDGET, preset_bytes, file.n_elements)
    chosen = budgets[0]
    check_budgets(budgets if budget is not None else (), space, config.pins)
    resolved = None
    if layer_types is not None:
        flags = flags_given(token_embedding_type, output_tensor_type)
        resolved = recipe_from_layer_types_option(layer_types, flags, file, presets)
    recipe_bytes = sizes.file_size(resolved.recipe, plain=True) if resolved else None
    groups = fallback_groups(file, sizes, presets.quantizable)
    notes = model_notes(file, groups)
    if as_json:
        result: dict[str, Any] = {
            "model": str(model),
            "name": file.name,
            "architecture": file.architecture,
            "n_layer": file.n_layer,
            "parameters": file.n_elements,
            "source_bytes": _source_bytes(file),
            "budget": chosen.text,
            "budget_bytes": chosen.n_bytes,
            "budgets": [{"budget": each.text, "budget_bytes": each.n_bytes} for each in budgets],
            "bank_bytes": space.bank_bytes(sizes),
            "feasible_bytes": {"min": space.smallest_bytes, "max": space.largest_bytes},
            "presets": preset_bytes,
            "presets_needing_imatrix": [name for name, preset in presets.presets.items() if preset.needs_imatrix],
            "fallbacks": {name: dict(p.fallbacks) for name, p in presets.presets.items() if p.fallbacks},
            "fallback_groups": [group.as_json() for group in groups],
            "notes": notes,
        }
        if resolved is not None:
            result |= {"recipe_bytes": recipe_bytes, "recipe_notes": list(resolved.notes)}
            result |= {"recipe_fallbacks": dict(resolved.fallbacks)}
        print_json(result)
        return
    console = out()
    console.print(
        f"[bold]{file.name or Path(model).name}[/bold]  {file.architecture}, {file.n_layer} layers, "
        f"{file.n_elements:,} parameters, {show_bytes(_source_bytes(file))}"
    )
    needing = [name for name, preset in presets.presets.items() if preset.needs_imatrix]
    console.print(preset_table(preset_bytes, file.n_elements, chosen.n_bytes, needing))
    for each in budgets:
        console.print(f"budget {each.text} = {each.n_bytes:,} bytes, {show_bytes(each.n_bytes)}")
    needed = space.bank_bytes(sizes) + _source_bytes(file)
    console.print(f"disk for all shards of a search: {show_bytes(needed)} at most")
    console.print(
        f"feasible by {units}: {space.smallest_bytes:,} to {space.largest_bytes:,} bytes "
        f"({len(space.units)} units, up to {space.shape[1]} options each)"
    )
    for note in notes:
        console.print(f"note: {note}")
    if resolved is not None:
        _show_recipe(resolved, recipe_bytes or 0, chosen.n_bytes)


def _source_bytes(file: ModelFile) -> int:
    """Of the whole model, also where its header alone is there."""
    return sum(max(header.size_bytes, header.required_bytes) for header in file.headers)


def _show_recipe(resolved: ResolvedRecipe, n_bytes: int, budget_bytes: int) -> None:
    console = out()
    verdict = "fits" if n_bytes <= budget_bytes else f"exceeds the budget by {n_bytes - budget_bytes:,} bytes"
    console.print(f"LAYER_TYPES = {n_bytes:,} bytes, {show_bytes(n_bytes)}: {verdict}")
    for note in resolved.notes:
        console.print(f"  note: {note}")
    for tensor, (wanted, given) in list(resolved.fallbacks.items())[:10]:
        console.print(f"  {tensor}: rows do not fit {wanted}, so it gets {given}")
    if len(resolved.fallbacks) > 10:
        console.print(f"  … and {len(resolved.fallbacks) - 10} other fallbacks")
