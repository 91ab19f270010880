"""A plan as a table for people, from the object that `plan --json` prints: here or from a service it looks the same."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from rich.markup import escape

from optimizer.commands.shown import out, preset_table
from optimizer.search.budget import show_bytes

SHOWN_FALLBACKS = 10


def show_plan(plan: Mapping[str, Any]) -> None:
    """plan: of `plan --json`."""
    console = out()
    name, parameters, search = plan["name"] or PurePosixPath(plan["model"]).name, plan["parameters"], plan["search"]
    console.print(
        f"[bold]{escape(name)}[/bold]  {plan['architecture']}, {plan['n_layer']} layers, "
        f"{parameters:,} parameters, {show_bytes(plan['source_bytes'])}"
    )
    console.print(preset_table(plan["presets"], parameters, plan["budget_bytes"], plan["presets_needing_imatrix"]))
    for each in plan["budgets"]:
        console.print(f"budget {each['budget']} = {each['budget_bytes']:,} bytes, {show_bytes(each['budget_bytes'])}")
    needed = plan["bank_bytes"] + plan["source_bytes"]
    console.print(f"disk for all shards of a search: {show_bytes(needed)} at most")
    feasible = plan["feasible_bytes"]
    console.print(
        f"feasible by {search['units']}: {feasible['min']:,} to {feasible['max']:,} bytes "
        f"({search['parts']} units, up to {search['options']} options each)"
    )
    for note in plan["notes"]:
        console.print(f"note: {escape(note)}")
    if "recipe_bytes" in plan:
        _show_recipe(plan)


def _show_recipe(plan: Mapping[str, Any]) -> None:
    console, n_bytes, budget = out(), plan["recipe_bytes"], plan["budget_bytes"]
    verdict = "fits" if n_bytes <= budget else f"exceeds the budget by {n_bytes - budget:,} bytes"
    console.print(f"LAYER_TYPES = {n_bytes:,} bytes, {show_bytes(n_bytes)}: {verdict}")
    for note in plan["recipe_notes"]:
        console.print(f"  note: {escape(note)}")
    fallbacks = list(plan["recipe_fallbacks"].items())
    for tensor, (wanted, given) in fallbacks[:SHOWN_FALLBACKS]:
        console.print(f"  {tensor}: rows do not fit {wanted}, so it gets {given}")
    if len(fallbacks) > SHOWN_FALLBACKS:
        console.print(f"  … and {len(fallbacks) - SHOWN_FALLBACKS} other fallbacks")
