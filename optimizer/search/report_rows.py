"""The rows of a report: what is measured on report text, its figures, and the verdict on the winner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.recipes.layer_types import format_json
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET
from optimizer.search.budget import Budget
from optimizer.search.measuring import Measurement
from optimizer.search.planning import Plan
from optimizer.search.racing import compare
from optimizer.store import TrialRecord


@dataclass(frozen=True)
class ReportItem:
    """One file to measure on report text."""

    name: str
    kind: str
    recipe: Recipe
    n_bytes: int


def winner_row(plan: Plan, trial: TrialRecord, recipe: Recipe, ours: Measurement) -> dict[str, Any]:
    layer_types = plan.layer_types(recipe)
    return {
        "trial": trial.number,
        "name": trial.name,
        "origin": trial.origin,
        "size_bytes": trial.size_bytes,
        "bits_per_weight": bits_per_weight(plan, trial.size_bytes),
        "search_mean_kld": trial.mean_kld,
        **_figures(ours),
        "reference_perplexity": ours.score.reference_perplexity,
        "layer_types": format_json(layer_types),
        "flags": str(layer_types.flags or ""),
    }


def baseline_row(
    item: ReportItem, measurement: Measurement, plan: Plan, ours: Measurement, budget: Budget
) -> dict[str, Any]:
    """`paired_difference`: the winner minus this one, nats per token over the same chunks."""
    difference = compare(ours.by_chunk, measurement.by_chunk)
    return {
        "name": item.name,
        "kind": item.kind,
        "size_bytes": item.n_bytes,
        "bits_per_weight": bits_per_weight(plan, item.n_bytes),
        "fits": item.n_bytes <= budget.n_bytes,
        **_figures(measurement),
        "paired_difference": difference.mean,
        "paired_standard_error": difference.standard_error,
    }


def verdict(best: TrialRecord, rows: Sequence[Mapping[str, Any]], ours: Measurement) -> str:
    """In one sentence, whether report text confirms the winner against the stock presets that fit."""
    rivals = [row for row in rows if row["kind"] == PRESET and row["fits"]]
    if not rivals:
        return "no stock preset fits this budget"
    strongest = min(rivals, key=lambda row: float(row["mean_kld"]))
    ratio = ours.score.mean_kld / strongest["mean_kld"] if strongest["mean_kld"] > 0 else float("inf")
    if best.name == strongest["name"]:
        return f"the stock preset {best.name} is the best found at these bytes"
    sure = abs(strongest["paired_difference"]) > 2 * strongest["paired_standard_error"]
    margin = "" if sure else ", within the paired error"
    if ratio < 1:
        return f"the winner loses {ratio:.2f} x the KLD of {strongest['name']}, the best stock preset that fits{margin}"
    return (
        f"on report text the stock preset {strongest['name']} is better: the winner loses {ratio:.2f} x its KLD{margin}"
    )


def bits_per_weight(plan: Plan, n_bytes: int) -> float:
    """Bits of the whole file per parameter."""
    return 8 * n_bytes / plan.model.n_elements


def _figures(measurement: Measurement) -> dict[str, Any]:
    score = measurement.score
    return {
        "mean_kld": score.mean_kld,
        "mean_kld_standard_error": score.mean_kld_standard_error,
        "perplexity": score.perplexity,
        "perplexity_standard_error": score.perplexity_standard_error,
        "top1_agreement": score.top1_agreement,
        "rms_delta_p": score.rms_delta_p,
        "kld_percentiles": dict(measurement.kld_percentiles),
    }
