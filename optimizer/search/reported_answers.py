"""The answers behind a report's figures on prompts, read from the store. Nothing is generated or judged."""

from collections.abc import Mapping
from typing import Any

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.record import prompts_from_json
from evaluators.prompts.located_yaml import SuiteError
from evaluators.prompts.suite import Suite, load_suite
from optimizer.errors import ConfigError
from optimizer.named_files import find_suite
from optimizer.search.baselines import PRESET
from optimizer.search.behaviour_report import SOURCE, WINNER
from optimizer.store import Store, StudyRecord, TrialRecord

_SAME = ("generated_tokens", "thinking_tokens", "loops", "out_of_tokens")


def reported_answers(store: Store, study: StudyRecord, front: Mapping[str, Any]) -> dict[str, BehaviourResult]:
    """Kind (`source`, `winner`, `preset`) -> its answers to the report half; what is not in the database is left out.

    front: one budget's report.
    """
    prompts = front.get("prompts") or {}
    found = {}
    for row in prompts.get("rows", ()):
        subject = _subject(store, study, front, row)
        kept = store.behaviours(subject, prompts["suite_sha256"], "report") if subject else []
        # Other settings give other answers: those are shown whose figures the report gives.
        same = [each for each in kept if all(each.summary.get(key) == row.get(key) for key in _SAME)]
        if same:
            last = same[-1]
            found[str(row["kind"])] = BehaviourResult(
                last.suite_sha256, prompts_from_json(last.prompts), last.generation
            )
    return found


def asked_suite(study: StudyRecord, front: Mapping[str, Any]) -> Suite | None:
    """The suite that the report's prompts are of; None where its file is gone or holds other prompts by now."""
    name, prompts = study.config.get("prompts"), front.get("prompts") or {}
    if not name or not prompts:
        return None
    try:
        suite = load_suite(find_suite(str(name)))
    except (ConfigError, SuiteError):
        return None
    return suite if suite.sha256 == prompts["suite_sha256"] else None


def _subject(store: Store, study: StudyRecord, front: Mapping[str, Any], row: Mapping[str, Any]) -> str | None:
    """The name under which the store keeps its answers."""
    fingerprint = store.model(study.model_id).fingerprint
    if row["kind"] == SOURCE:
        return fingerprint
    trial: TrialRecord | None = None
    if row["kind"] == WINNER:
        trial = store.trial(study.id, int(front["best"]["trial"]))
    elif row["kind"] == PRESET:
        trial = next((each for each in store.trials(study.id) if each.name == row["name"]), None)
    return f"{fingerprint}:{store.recipe(trial.recipe_id).key}" if trial else None
