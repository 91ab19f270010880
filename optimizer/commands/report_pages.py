"""What `report --html` writes: a study's report with pictures and answers."""

from typing import Any

from optimizer.export.answers import Answers, Named, show_answers
from optimizer.export.report_page import report_page
from optimizer.export.report_view import Report
from optimizer.recipes.recipe import Recipe
from optimizer.search.behaviour_report import SOURCE, WINNER
from optimizer.search.reported_answers import asked_suite, reported_answers
from optimizer.store import Store, StudyRecord


def page_of_report(store: Store, study: StudyRecord) -> str:
    """What `--html` writes for a finished study."""
    document = dict(study.report or {})
    recipes = [_recipe_of(store, study, each["best"]["trial"]).kept_types for each in _fronts(document)]
    answers = [_answers(store, study, each) for each in _fronts(document)]
    return report_page(Report.from_json(document), recipes, answers)


def _answers(store: Store, study: StudyRecord, front: dict[str, Any]) -> Answers | None:
    """The winner's beside the source's and the best preset's; None where the database has them no more."""
    found = reported_answers(store, study, front)
    if SOURCE not in found or WINNER not in found:
        return None
    names = {row["kind"]: str(row["name"]) for row in front["prompts"]["rows"]}
    named = {kind: Named(names[kind], result) for kind, result in found.items()}
    source, winner = named.pop(SOURCE), named.pop(WINNER)
    return show_answers(winner, source, tuple(named.values()), asked_suite(study, front))


def _fronts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("fronts") or [document]


def _recipe_of(store: Store, study: StudyRecord, number: int) -> Recipe:
    return Recipe(store.recipe(store.trial(study.id, number).recipe_id).tensor_types)
