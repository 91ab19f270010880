"""What is said of a whole study: its front, the honesty of its forecasts, and what a wider space would give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from optimizer.recipes.recipe import Recipe
from optimizer.search.behaviour_report import behaviour_report
from optimizer.search.budget import Budget
from optimizer.search.front import (
    Verified,
    hypervolume,
    hypervolume_over_tokens,
    make_front,
    reference_point,
)
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.prompt_front import front_trials, prompt_front
from optimizer.search.prune_report import pruning_report
from optimizer.search.report import budget_report, winner
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.trial_findings import TOKENS_BEFORE_TRIALS, WIDER, forecasts, honesty_of, wider_object
from optimizer.store import Store, StudyRecord, TrialRecord


def study_report(
    plan: Plan,
    store: Store,
    study: StudyRecord,
    measurer: Measurer,
    progress: Mapping[str, Any],
    step: Callable[[str], None],
    behaviours: StudyBehaviours | None = None,
) -> dict[str, Any]:
    """Everything that is measured on report text, and what the trials tell.

    progress: what the study has kept. step: called with a label before each measurement. behaviours: where the study
    has prompts.
    """
    best = {budget: winner(store, study, budget, plan.rivals_only) for budget in plan.budgets}
    objects = [budget_report(plan, budget, best[budget], store, measurer, step, progress) for budget in plan.budgets]
    if behaviours is not None and plan.prompts is not None:
        for budget, each in zip(plan.budgets, objects, strict=True):
            step("prompts")
            recipe = Recipe(store.recipe(best[budget].recipe_id).tensor_types)
            each["prompts"] = behaviour_report(
                plan, budget, best[budget], recipe, each["baselines"], behaviours, plan.prompts.report
            )
    trials = store.trials(study.id)
    if plan.config.prune:
        for budget, each in zip(plan.budgets, objects, strict=True):
            each["pruning"] = pruning_report(
                best[budget], trials, plan.rivals_only, budget, store, measurer, progress, step
            )
    if behaviours is not None and plan.prompts is not None and plan.config.objective != "kld":
        for budget, each in zip(plan.budgets, objects, strict=True):
            found = front_trials(trials, plan.rivals_only, budget.n_bytes)
            each["prompt_front"] = prompt_front(found, store, measurer, behaviours, plan.prompts.report, step)
    honesty = honesty_of(trials)
    wider = wider_object(progress, honesty)
    for budget, each in zip(plan.budgets, objects, strict=True):
        each["wider"] = [hint for hint in wider if hint["budget"] == budget.text]
        each["trial_tokens"] = sum(trial.tokens_spent for trial in trials if trial.budget_bytes == budget.n_bytes)
    several = len(objects) > 1
    return {
        "reference_perplexity": objects[0]["best"]["reference_perplexity"],
        "tokens_evaluated": store.study(study.id).tokens_evaluated,
        TOKENS_BEFORE_TRIALS: progress.get(TOKENS_BEFORE_TRIALS),
        "honesty": {**asdict(honesty), "trials": forecasts(trials)},
        **(objects[0] if not several else {WIDER: wider}),
        "fronts": objects if several else None,
        "front": _front(plan, best, objects, trials, store, measurer, progress) if several else None,
    }


def _front(
    plan: Plan,
    best: Mapping[Budget, TrialRecord],
    objects: Sequence[Mapping[str, Any]],
    trials: Sequence[TrialRecord],
    store: Store,
    measurer: Measurer,
    progress: Mapping[str, Any],
) -> dict[str, Any]:
    winners = [
        _verified(budget, trial, each["best"], store, measurer)
        for (budget, trial), each in zip(best.items(), objects, strict=True)
    ]
    points = make_front(winners)
    largest = plan.budgets[-1].n_bytes
    rows = [row for each in objects for row in (*each["baselines"], each["best"])]
    corner = reference_point([(row["size_bytes"], row["mean_kld"]) for row in rows], largest)
    volume = hypervolume([(each.size_bytes, each.mean_kld) for each in winners], corner) if corner else None
    return {
        "points": [point.as_json() for point in points],
        "monotone": all(point.why_not is None for point in points),
        "hypervolume": volume,
        "mean_log_reduction": corner.mean_log_reduction(volume) if corner and volume is not None else None,
        "reference": {"size_bytes": corner.n_bytes, "mean_kld": corner.kld} if corner else None,
        "search_hypervolume_over_tokens": _over_tokens(plan, trials, progress),
    }


def _verified(budget: Budget, trial: TrialRecord, row: Mapping[str, Any], store: Store, measurer: Measurer) -> Verified:
    """The scores by chunk come from the store: `budget_report` has measured them."""
    recipe = Recipe(store.recipe(trial.recipe_id).tensor_types)
    by_chunk = measurer.measure(recipe, measurer.text.n_chunks).by_chunk
    return Verified(
        budget.text, budget.n_bytes, trial.number, row["size_bytes"], row["mean_kld"],
        row["mean_kld_standard_error"], by_chunk,
    )  # fmt: skip


def _over_tokens(
    plan: Plan, trials: Sequence[TrialRecord], progress: Mapping[str, Any]
) -> list[dict[str, float]] | None:
    """On search text, from complete trials, tokens of the probes included; rivals give the corner alone."""
    complete = [(each.size_bytes, each.mean_kld) for each in trials if each.state == "complete" and each.mean_kld]
    corner = reference_point(complete, plan.budgets[-1].n_bytes)
    if corner is None:
        return None
    steps = [
        (
            trial.tokens_spent,
            trial.size_bytes,
            trial.mean_kld if trial.state == "complete" and trial.name not in plan.rivals_only else None,
        )
        for trial in trials
    ]
    curve = hypervolume_over_tokens(steps, corner, int(progress.get(TOKENS_BEFORE_TRIALS) or 0))
    return [{"tokens": tokens, "hypervolume": volume} for tokens, volume in curve]
