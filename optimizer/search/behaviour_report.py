"""The report half of a suite: the winner, the source, and the stock preset that a budget would have taken instead."""

from collections.abc import Mapping
from typing import Any

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.scores import compare, score
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET
from optimizer.search.best import kept_out
from optimizer.search.budget import Budget
from optimizer.search.planning import Plan
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.suites import Questions
from optimizer.store import TrialRecord

SOURCE, WINNER = "source", "winner"


def behaviour_report(
    plan: Plan,
    budget: Budget,
    best: TrialRecord,
    recipe: Recipe,
    rows: list[dict[str, Any]],
    behaviours: StudyBehaviours,
    questions: Questions,
) -> dict[str, Any]:
    """The object `prompts` of one budget's report. rows: its baselines, measured on report text.

    `kept_out` tells why the gate stayed shut for the winner, where it let nobody through. Of a suite whose
    prompts all chose there are no rows.
    """
    report = {
        "suite": questions.suite.name,
        "suite_sha256": questions.suite.sha256,
        "total": len(questions.suite.prompts),
        "kept_out": kept_out(best),
    }
    if not questions.suite.prompts:
        return {**report, "rows": []}
    source, winner = behaviours.source(questions), behaviours.of(recipe, questions, f"trial {best.number}")
    measured = {SOURCE: (SOURCE, source), WINNER: (best.name or f"trial {best.number}", winner)}
    rival = strongest_preset(rows)
    if rival is not None and rival != best.name:
        preset = next(each.recipe for each in plan.baselines[budget] if each.name == rival)
        measured[PRESET] = (rival, behaviours.of(preset, questions, rival))
    rows_of = [_row(kind, name, found, winner, source) for kind, (name, found) in measured.items()]
    return {**report, "rows": rows_of}


def strongest_preset(rows: list[dict[str, Any]]) -> str | None:
    """The stock preset of the lowest KLD on report text within the budget: what the verdict names."""
    rivals = [row for row in rows if row["kind"] == PRESET and row["fits"]]
    return str(min(rivals, key=lambda row: float(row["mean_kld"]))["name"]) if rivals else None


def _row(
    kind: str, name: str, found: BehaviourResult, winner: BehaviourResult, source: BehaviourResult
) -> dict[str, Any]:
    """`paired`: the winner against this one, prompt by prompt; None for the winner itself."""
    scores = score(found.prompts, None if kind == SOURCE else source.transcripts)
    return {"kind": kind, "name": name, **scores.as_json(), "paired": _paired(kind, winner, found)}


def _paired(kind: str, winner: BehaviourResult, found: BehaviourResult) -> Mapping[str, Any] | None:
    if kind == WINNER:
        return None
    test = compare(winner.prompts, found.prompts)
    return {"gained": test.gained, "lost": test.lost, "compared": test.compared, "p_value": test.p_value}
