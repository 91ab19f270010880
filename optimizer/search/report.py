"""The final table: the winner and the baselines on text that the search never saw. It never chooses.

The winner of a budget is the complete trial of lowest KLD on search text that fits it; whether report text agrees is
for the report to say.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluators.errors import EvaluationError
from optimizer.errors import StudyError
from optimizer.recipes.layer_types import format_json
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET, is_ladder_preset, rival_presets
from optimizer.search.budget import Budget
from optimizer.search.interpolation import LadderPoint, preset_kld_at
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.planning import Plan
from optimizer.search.racing import compare
from optimizer.store import Store, StudyRecord, TrialRecord

Advance = Callable[[int], None]


@dataclass(frozen=True)
class ReportItem:
    """One row to measure on report text."""

    name: str
    kind: str
    recipe: Recipe
    n_bytes: int


def best_trial(trials: Iterable[TrialRecord], rivals_only: Collection[str], budget_bytes: int) -> TrialRecord | None:
    """The complete trial of lowest KLD on search text within the budget, without rivals of types that are not allowed.

    Equal ones: the smaller, then the earlier. Where nothing else was completed, a rival is better than nothing.
    """
    complete = [t for t in trials if t.state == "complete" and t.mean_kld is not None and t.size_bytes <= budget_bytes]
    own = [trial for trial in complete if trial.name not in rivals_only] or complete
    return min(own, key=lambda trial: (trial.mean_kld or 0.0, trial.size_bytes, trial.number), default=None)


def winner(store: Store, study: StudyRecord, budget: Budget, rivals_only: Collection[str]) -> TrialRecord:
    """The best trial within the budget; StudyError when there is none."""
    best = best_trial(store.trials(study.id), rivals_only, budget.n_bytes)
    if best is None:
        raise StudyError(f"study {study.name}: no trial within {budget.text} was completed; continue the search")
    return best


def report_items(plan: Plan, budget: Budget) -> list[ReportItem]:
    """The budget's baselines, and the next stock presets above it: of all, and of those the search may use."""
    items = [ReportItem(b.name, b.kind, b.recipe, b.n_bytes) for b in plan.baselines[budget]]
    return [*items, *_next_above(plan, budget)]


def measurements_needed(plan: Plan) -> int:
    return sum(len(report_items(plan, budget)) + 1 for budget in plan.budgets)


def budget_report(
    plan: Plan, budget: Budget, best: TrialRecord, store: Store, measurer: Measurer, step: Callable[[str], None]
) -> dict[str, Any]:
    """The object of one budget, as `report --json` shows it."""
    n_chunks = measurer.text.n_chunks
    recipe = Recipe(store.recipe(best.recipe_id).tensor_types)
    step(f"trial {best.number}")
    ours = measurer.measure(recipe, n_chunks, f"trial {best.number}")
    measured: list[tuple[ReportItem, Measurement]] = []
    left_out: dict[str, str] = {}
    for item in report_items(plan, budget):
        step(item.name)
        try:
            measured.append((item, measurer.measure(item.recipe, n_chunks, item.name)))
        except EvaluationError as error:
            left_out[item.name] = str(error)
    rows = [_row(item, measurement, plan, ours, budget) for item, measurement in measured]
    return {
        "budget": budget.text,
        "budget_bytes": budget.n_bytes,
        "best": _best(plan, best, recipe, ours),
        "baselines": rows,
        "left_out": left_out,
        **_interpolated(plan, measured, best.size_bytes),
        "verdict": verdict(best, rows, ours),
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


def _best(plan: Plan, trial: TrialRecord, recipe: Recipe, ours: Measurement) -> dict[str, Any]:
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


def _row(item: ReportItem, measurement: Measurement, plan: Plan, ours: Measurement, budget: Budget) -> dict[str, Any]:
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


def bits_per_weight(plan: Plan, n_bytes: int) -> float:
    """Bits of the whole file per parameter."""
    return 8 * n_bytes / plan.model.n_elements


def _interpolated(
    plan: Plan, measured: Sequence[tuple[ReportItem, Measurement]], n_bytes: int
) -> dict[str, float | bool | None]:
    points = [
        (LadderPoint(item.name, item.n_bytes, measurement.score.mean_kld), item.recipe)
        for item, measurement in measured
        if item.kind == PRESET and is_ladder_preset(item.name)
    ]
    allowed = [point for point, recipe in points if set(recipe.tensor_types.values()) <= set(plan.tensor_types)]
    everything = preset_kld_at([point for point, _ in points], n_bytes)
    only_allowed = preset_kld_at(allowed, n_bytes)
    return {
        "interpolated_preset_kld": everything.kld if everything else None,
        "interpolated_allowed_preset_kld": only_allowed.kld if only_allowed else None,
        "extrapolated": bool(everything is None or everything.extrapolated),
        "extrapolated_allowed": bool(only_allowed is None or only_allowed.extrapolated),
    }


def _next_above(plan: Plan, budget: Budget) -> list[ReportItem]:
    """The smallest K- or IQ-preset above the budget, and the smallest whose every type the search may use."""
    above = sorted(
        (plan.preset_bytes[name], name, recipe)
        for name, recipe in rival_presets(plan.presets).items()
        if is_ladder_preset(name) and plan.preset_bytes[name] > budget.n_bytes
    )
    allowed_types = set(plan.tensor_types)
    allowed = [each for each in above if set(each[2].tensor_types.values()) <= allowed_types]
    chosen = {name: (n_bytes, recipe) for n_bytes, name, recipe in [*above[:1], *allowed[:1]]}
    return [ReportItem(name, PRESET, recipe, n_bytes) for name, (n_bytes, recipe) in chosen.items()]
