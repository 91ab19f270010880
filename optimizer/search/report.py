"""The final table: the winner and the baselines on text that the search never saw. It never chooses.

The winner of a budget is the complete trial of lowest KLD on search text that fits it, whichever budget it was run
for; whether report text agrees is for the report to say.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluators.errors import EvaluationError
from optimizer.errors import RecipeError, StudyError
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import best_trial
from optimizer.search.budget import Budget
from optimizer.search.leftover import LEFTOVER, leftover_object
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.preset_ladder import Measured, climb, interpolated, least_kld, presets_above
from optimizer.search.report_rows import ReportItem, baseline_row, verdict, winner_row
from optimizer.store import Store, StudyRecord, TrialRecord


def winner(store: Store, study: StudyRecord, budget: Budget, rivals_only: Collection[str]) -> TrialRecord:
    """The best trial within the budget, of all the study's trials; StudyError when there is none."""
    best = best_trial(store.trials(study.id), rivals_only, budget.n_bytes)
    if best is None:
        raise StudyError(f"study {study.name}: no trial within {budget.text} was completed; continue the search")
    return best


def measurements_needed(plan: Plan) -> int:
    """At most: every baseline, the presets above and the winner of each budget."""
    above = [{item.name for ladder in presets_above(plan, budget) for item in ladder} for budget in plan.budgets]
    return sum(len(plan.baselines[budget]) + len(names) + 1 for budget, names in zip(plan.budgets, above, strict=True))


def budget_report(
    plan: Plan,
    budget: Budget,
    best: TrialRecord,
    store: Store,
    measurer: Measurer,
    step: Callable[[str], None],
    progress: Mapping[str, Any],
) -> dict[str, Any]:
    """The object of one budget, as `report --json` shows it. progress: what the study has kept."""
    n_chunks = measurer.text.n_chunks
    recipe = Recipe(store.recipe(best.recipe_id).tensor_types)
    step(f"trial {best.number}")
    ours = measurer.measure(recipe, n_chunks, f"trial {best.number}")
    measured: dict[str, Measured] = {}
    left_out: dict[str, str] = {}

    def measure(item: ReportItem) -> float | None:
        if item.name not in measured and item.name not in left_out:
            step(item.name)
            try:
                measured[item.name] = (item, measurer.measure(item.recipe, n_chunks, item.name))
            except EvaluationError as error:
                left_out[item.name] = str(error)
        return measured[item.name][1].score.mean_kld if item.name in measured else None

    for baseline in plan.baselines[budget]:
        measure(ReportItem(baseline.name, baseline.kind, baseline.recipe, baseline.n_bytes))
    below = list(measured.values())
    everything, allowed = presets_above(plan, budget)
    climb(everything, least_kld(below), measure)
    climb(allowed, least_kld(below, plan.tensor_types), measure)
    found = list(measured.values())
    rows = [baseline_row(item, measurement, plan, ours, budget) for item, measurement in found]
    return {
        "budget": budget.text,
        "budget_bytes": budget.n_bytes,
        "best": winner_row(plan, best, recipe, ours),
        "leftover_bytes": budget.n_bytes - best.size_bytes,
        "leftover_share": (budget.n_bytes - best.size_bytes) / budget.n_bytes,
        LEFTOVER: leftover_object(
            plan.space, _choice(plan, recipe), best.size_bytes, budget.n_bytes, progress.get(LEFTOVER)
        ),
        "baselines": rows,
        "left_out": left_out,
        **interpolated(plan, found, best.size_bytes),
        "verdict": verdict(best, rows, ours),
    }


def _choice(plan: Plan, recipe: Recipe) -> npt.NDArray[np.int64] | None:
    """None where the recipe is none of the space: layers were left out."""
    try:
        return plan.space.choice_of_recipe(recipe)
    except (RecipeError, KeyError):
        return None
