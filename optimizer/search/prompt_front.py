"""KLD against prompts solved: the trials of a budget that no other beats on both, measured on what no search saw."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from evaluators.behaviour.scores import score
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import PROMPTS_SOLVED, PROMPTS_TOTAL, kept_out
from optimizer.search.measuring import Measurer
from optimizer.search.non_dominated import non_dominated
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.suites import Questions
from optimizer.store import Store, TrialRecord


def front_trials(trials: Iterable[TrialRecord], rivals_only: Collection[str], budget_bytes: int) -> list[TrialRecord]:
    """Least KLD first: complete trials within the budget that answered the search half, undominated on it.

    Those that the gate kept out are among them, rivals of types that are not allowed are not. Of equal trials the
    smaller, then the earlier stays.
    """
    able = [
        trial
        for trial in trials
        if trial.state == "complete" and trial.mean_kld is not None and trial.size_bytes <= budget_bytes
        and trial.name not in rivals_only and PROMPTS_SOLVED in (trial.metrics or {})
    ]  # fmt: skip
    able.sort(key=lambda trial: (trial.size_bytes, trial.number))
    return non_dominated(able, lambda trial: (trial.mean_kld or 0.0, -_solved(trial)))


def prompt_front(
    trials: Iterable[TrialRecord],
    store: Store,
    measurer: Measurer,
    behaviours: StudyBehaviours,
    questions: Questions,
    step: Callable[[str], None],
) -> list[dict[str, Any]]:
    """The list `prompt_front` of one budget's report. Raises EvaluationError.

    trials: the front's. measurer: of report text. questions: the report half; where it is empty, `report` has no
    prompts (null).
    """
    return [_point(trial, store, measurer, behaviours, questions, step) for trial in trials]


def _point(
    trial: TrialRecord,
    store: Store,
    measurer: Measurer,
    behaviours: StudyBehaviours,
    questions: Questions,
    step: Callable[[str], None],
) -> dict[str, Any]:
    label, recipe = f"trial {trial.number}", Recipe(store.recipe(trial.recipe_id).tensor_types)
    step(label)
    measured = measurer.measure(recipe, measurer.text.n_chunks, label).score
    prompts = None
    if questions.suite.prompts:
        count = score(behaviours.of(recipe, questions, label).prompts).count
        prompts = {
            "solved": count.solved,
            "total": count.total,
            "unavailable": count.unavailable,
            "solved_interval": [count.interval.low, count.interval.high],
        }
    return {
        "trial": trial.number,
        "name": trial.name,
        "size_bytes": trial.size_bytes,
        "kept_out": kept_out(trial),
        "search": {
            "mean_kld": trial.mean_kld,
            "solved": _solved(trial),
            "total": int((trial.metrics or {})[PROMPTS_TOTAL]),
        },
        "report": {
            "mean_kld": measured.mean_kld,
            "mean_kld_standard_error": measured.mean_kld_standard_error,
            "prompts": prompts,
        },
    }


def _solved(trial: TrialRecord) -> int:
    return int((trial.metrics or {})[PROMPTS_SOLVED])
