"""What the pages show of a study besides its status, from its trials: rows, figures and the comparison at its bytes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from optimizer.errors import GgufError
from optimizer.export.layer_map import LayerMap, layer_map
from optimizer.export.report_view import Report
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import PROMPTS_SOLVED, PROMPTS_TOTAL, RIVALS_ONLY, kept_out, only_lucky
from optimizer.search.trial_findings import TOKENS_BEFORE_TRIALS
from optimizer.service.context import Service
from optimizer.service.summaries import Summary, full_kld, kind_of, summarize
from optimizer.store import StudyRecord, TrialRecord
from optimizer.store.records import Half

COLUMNS = (
    "number", "state", "name", "kind", "bytes", "kld", "error", "estimate", "perplexity", "solved", "prompts",
    "tokens", "predicted", "note", "speed",
)  # fmt: skip


@dataclass(frozen=True)
class StudyData:
    """`record`: None while the study only waits in the queue. `view`: as `/api/studies/STUDY` shows it.

    `trials`: without params and LAYER_TYPES.
    """

    view: Mapping[str, Any]
    record: StudyRecord | None
    trials: Sequence[TrialRecord]
    parameters: int | None
    speeds: Mapping[Half, Mapping[int, float]] = field(default_factory=dict)
    """Half of a suite -> trial -> tokens a second of its answers."""

    @property
    def name(self) -> str:
        return str(self.view["study"])

    @property
    def active(self) -> bool:
        """Whether there will be news without anybody doing anything."""
        return self.view["state"] in ("running", "starting", "queued")

    @cached_property
    def version(self) -> str:
        """Changes whenever the page would."""
        job = self.view["job"] or {}
        seen = [
            self.view["state"], self.view["stop_requested"], job.get("error"), self.view["best"],
            [(trial.number, trial.state, trial.mean_kld) for trial in self.trials],
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    @cached_property
    def summary(self) -> Summary:
        return summarize(self.record, self.trials)

    @property
    def best(self) -> TrialRecord | None:
        return self.summary.best

    @property
    def best_preset(self) -> TrialRecord | None:
        return self.summary.preset

    @property
    def ratio(self) -> float | None:
        return self.summary.ratio

    @cached_property
    def report(self) -> Report | None:
        if self.record is None or self.record.report is None or self.view["state"] != "finished":
            return None
        return Report.from_json(self.record.report)

    def rows(self) -> list[list[Any]]:
        """One row a trial: the values of COLUMNS. Speeds are of the prompts that trials are chosen by."""
        speeds = self.speeds.get("search") or self.speeds.get("whole") or {}
        return [[*_row(trial), speeds.get(trial.number)] for trial in self.trials]

    def figures(self) -> dict[str, Any]:
        """All that the study's charts are drawn of."""
        progress = (self.record.progress if self.record else None) or {}
        report = self.report
        return {
            "study": self.name,
            "columns": COLUMNS,
            "rows": self.rows(),
            "best": None if self.best is None else self.best.number,
            "best_label": "" if self.best is None else label_of(self.best),
            "parameters": self.parameters,
            "budgets": sorted({trial.budget_bytes for trial in self.trials if trial.budget_bytes is not None}),
            "tokens_before": progress.get(TOKENS_BEFORE_TRIALS) or 0,
            "rivals": list(progress.get(RIVALS_ONLY) or ()),
            "report": [] if report is None else _report_rows(report, self.trials, self.speeds.get("report", {})),
        }


def study_data(here: Service, name: str) -> StudyData:
    """Raises NotFound."""
    view = here.view(name)
    record = here.store.find_study(name)
    trials = here.store.light_trials(record.id) if record else []
    model = ((record.report if record else None) or {}).get("model") or {}
    known = model.get("parameters")
    if known is None and record is not None:
        known = _parameters(here.store.model(record.model_id).path)
    return StudyData(view, record, trials, known, here.store.answer_speeds(record.id) if record else {})


def map_of(here: Service, trial: TrialRecord) -> LayerMap:
    return layer_map(Recipe(here.store.recipe(trial.recipe_id).tensor_types).kept_types)


def label_of(trial: TrialRecord) -> str:
    return f"trial {trial.number}" + (f", {trial.name}" if trial.name else "")


def _row(trial: TrialRecord) -> list[Any]:
    metrics = trial.metrics or {}
    complete = trial.state == "complete"
    note = trial.error or kept_out(trial) or only_lucky(trial) or ""
    state = "kept out" if kept_out(trial) else "by luck" if only_lucky(trial) else trial.state
    return [
        trial.number, state, trial.name, kind_of(trial), trial.size_bytes,
        trial.mean_kld if complete else None, trial.mean_kld_standard_error if complete else None,
        None if complete else full_kld(trial), trial.perplexity if complete else None,
        metrics.get(PROMPTS_SOLVED), metrics.get(PROMPTS_TOTAL), trial.tokens_spent, trial.predicted_kld,
        note[:200],
    ]  # fmt: skip


def _report_rows(report: Report, trials: Sequence[TrialRecord], speeds: Mapping[int, float]) -> list[dict[str, Any]]:
    """Winners and baselines on report text, with the prompts that were asked and the trial they were, if one."""
    numbers = {trial.name: trial.number for trial in trials if trial.name is not None}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for front in report.fronts:
        prompts = front.prompts.rows if front.prompts else ()
        answered = {"winner" if each.kind == "winner" else each.name: each for each in prompts}
        for row in (*front.baselines, front.best):
            ours = row is front.best
            asked = answered.get("winner" if ours else row.name)
            number = front.trial if ours else numbers.get(row.name)
            found[row.name, row.size_bytes] = {
                "name": row.name, "kind": "winner" if ours else row.kind, "bytes": row.size_bytes,
                "kld": row.mean_kld, "error": row.mean_kld_standard_error, "perplexity": row.perplexity,
                "perplexity_error": row.perplexity_standard_error,
                "number": number, "speed": None if number is None else speeds.get(number),
                "solved": asked.solved if asked else None, "prompts": asked.total if asked else None,
            }  # fmt: skip
    return list(found.values())


@lru_cache(maxsize=64)
def _parameters(path: str) -> int | None:
    """Weights of a model by its header; None where its file is gone."""
    try:
        return ModelFile.open(Path(path), planning=True).n_elements
    except GgufError:
        return None
