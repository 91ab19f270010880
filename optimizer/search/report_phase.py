"""The last phase of a search: its winners and their rivals on report text, and the study's end."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from evaluators.errors import EvaluationError
from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.crew import in_parallel
from optimizer.search.draw import DRAW
from optimizer.search.early_phases import prepare_report_text
from optimizer.search.leftover import LEFTOVER
from optimizer.search.measuring import Measurer
from optimizer.search.prune_sets import BLOCK_INFLUENCE, PRUNE_SETS
from optimizer.search.report import measurements_needed, winner
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.study_report import study_report
from optimizer.search.texts import TextChoice
from optimizer.search.trial_findings import TOKENS_BEFORE_TRIALS, WIDER
from optimizer.store import NewEvent

KEPT = (WIDER, TOKENS_BEFORE_TRIALS, BLOCK_INFLUENCE, PRUNE_SETS, LEFTOVER)
"""What the report takes from the study's progress."""


def write_report(
    context: SearchContext,
    bench: Bench,
    texts: tuple[TextChoice, TextChoice],
    noise: float,
    behaviours: StudyBehaviours | None,
) -> None:
    """Measure, and end the study."""
    plan, store, reporter = context.plan, context.store, context.reporter
    store.update_study(context.lease, phase="report")
    searched, choice = texts
    text = prepare_report_text(context, bench, choice)
    measurer = bench.measurer(context.lease, text, reporter)
    more = (behaviours is not None) + 2 * (plan.config.prune > 0)
    reporter.phase("report", measurements_needed(plan) + len(plan.budgets) * more)
    done = 0

    def step(label: str) -> None:
        nonlocal done
        context.check_stop()
        reporter.advance(done, label)
        done += 1

    _measure_ahead(context, measurer)
    progress = {name: reporter.kept(name) for name in KEPT}
    found = study_report(plan, store, context.study, measurer, progress, step, behaviours)
    report: dict[str, Any] = {
        "study": context.study.name,
        "model": {
            "name": plan.model.name,
            "path": str(plan.model.paths[0]),
            "architecture": plan.model.architecture,
            "n_layer": plan.model.n_layer,
            "parameters": plan.model.n_elements,
            "size_bytes": plan.model.size_bytes,
        },
        "search_text": {**searched.as_json(), **_drawn(reporter.kept(DRAW))},
        "report_text": {**choice.as_json(), "chunks": text.n_chunks},
        "engine": asdict(bench.scorer.engine()),
        "noise_floor_kld": noise,
        **found,
    }
    store.update_study(
        context.lease, state="finished", phase="finished", report=report, events=[NewEvent("study.finished", {})]
    )


def _drawn(kept: Mapping[str, Any] | None) -> dict[str, int]:
    return {} if kept is None else {"chunks": len(kept["order"]), "drawn_from": kept["pool"]}


def _measure_ahead(context: SearchContext, measurer: Measurer) -> None:
    """With several evaluators: what every report needs, several at a time. The report then finds it in the store."""
    if measurer.scorer.slots == 1:
        return
    plan, store = context.plan, context.store
    best = [winner(store, context.study, budget, plan.rivals_only) for budget in plan.budgets]
    recipes = {recipe.key: recipe for recipe in (Recipe(store.recipe(each.recipe_id).tensor_types) for each in best)}
    recipes |= {each.recipe.key: each.recipe for group in plan.baselines.values() for each in group}

    def measure(recipe: Recipe) -> None:
        with suppress(EvaluationError):  # the report meets it again, and says so
            measurer.measure(recipe, measurer.text.n_chunks, "report text")

    in_parallel(measurer.scorer, list(recipes.values()), measure, before=lambda _: context.check_stop())
