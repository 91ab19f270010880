"""What the pages show of a study besides its status, from its trials: rows, figures and the comparison at its bytes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from optimizer.errors import GgufError
from optimizer.export.layer_map import LayerMap, layer_map
from optimizer.export.report_view import Report
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET
from optimizer.search.best import (
    PROMPTS_SOLVED,
    PROMPTS_TOTAL,
    RIVALS_ONLY,
    best_of_study,
    kept_out,
    only_lucky,
    winners,
)
from optimizer.search.study_report import TOKENS_BEFORE_TRIALS
from optimizer.service.context import Service
from optimizer.store import StudyRecord, TrialRecord

ESTIMATE = "full_text_estimate"
"""Metric of a pruned trial: what its KLD would be on all chunks."""
COLUMNS = (
    "number", "state", "name", "kind", "bytes", "kld", "error", "estimate", "perplexity", "solved", "prompts",
    "tokens", "predicted", "note",
)  # fmt: skip


@dataclass(frozen=True)
class StudyData:
    """`record`: None while the study only waits in the queue. `view`: as `/api/studies/STUDY` shows it."""

    view: Mapping[str, Any]
    record: StudyRecord | None
    trials: Sequence[TrialRecord]
    parameters: int | None

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
    def best(self) -> TrialRecord | None:
        """The report's winner, of its largest budget; without a report the best so far."""
        if self.record is None:
            return None
        numbers = winners(self.record.report)
        if numbers:
            return next((trial for trial in self.trials if trial.number == numbers[-1]), None)
        return best_of_study(self.record, self.trials)

    @cached_property
    def report(self) -> Report | None:
        if self.record is None or self.record.report is None or self.view["state"] != "finished":
            return None
        return Report.from_json(self.record.report)

    @cached_property
    def best_preset(self) -> TrialRecord | None:
        """The stock preset of least KLD on search text among those of the budget's bytes or fewer."""
        best = self.best
        if best is None:
            return None
        limit = max(best.budget_bytes or 0, best.size_bytes)
        found = [
            trial
            for trial in self.trials
            if kind_of(trial) == PRESET and trial.size_bytes <= limit and full_kld(trial) is not None
        ]
        return min(found, key=lambda trial: full_kld(trial) or 0.0, default=None)

    @property
    def ratio(self) -> float | None:
        """KLD of the best over that of the best preset, on search text; None where there is nothing to divide."""
        best, preset = self.best, self.best_preset
        theirs = full_kld(preset) if preset else None
        ours = full_kld(best) if best else None
        return ours / theirs if ours is not None and theirs else None

    def rows(self) -> list[list[Any]]:
        """One row a trial: the values of COLUMNS."""
        return [_row(trial) for trial in self.trials]

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
            "report": [] if report is None else _report_rows(report, self.trials),
        }


def study_data(here: Service, name: str) -> StudyData:
    """Raises NotFound."""
    view = here.view(name)
    record = here.store.find_study(name)
    trials = here.store.trials(record.id) if record else []
    model = ((record.report if record else None) or {}).get("model") or {}
    known = model.get("parameters")
    if known is None and record is not None:
        known = _parameters(here.store.model(record.model_id).path)
    return StudyData(view, record, trials, known)


def map_of(here: Service, trial: TrialRecord) -> LayerMap:
    return layer_map(Recipe(here.store.recipe(trial.recipe_id).tensor_types).kept_types)


def kind_of(trial: TrialRecord) -> str:
    """`preset`, `uniform`, `hybrid` of a baseline; `search` of what the search proposed itself."""
    return trial.origin.partition(":")[0] if trial.name is not None else "search"


def label_of(trial: TrialRecord) -> str:
    return f"trial {trial.number}" + (f", {trial.name}" if trial.name else "")


def full_kld(trial: TrialRecord) -> float | None:
    """On all chunks of the search text; of a pruned trial as it was estimated when it was given up."""
    if trial.state == "complete":
        return trial.mean_kld
    estimate = (trial.metrics or {}).get(ESTIMATE)
    return float(estimate) if estimate is not None else None


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


def _report_rows(report: Report, trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """Winners and baselines on report text, with the prompts that were asked and the trial they were, if one."""
    numbers = {trial.name: trial.number for trial in trials if trial.name is not None}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for front in report.fronts:
        prompts = front.prompts.rows if front.prompts else ()
        answered = {"winner" if each.kind == "winner" else each.name: each for each in prompts}
        for row in (*front.baselines, front.best):
            ours = row is front.best
            asked = answered.get("winner" if ours else row.name)
            found[row.name, row.size_bytes] = {
                "name": row.name, "kind": "winner" if ours else row.kind, "bytes": row.size_bytes,
                "kld": row.mean_kld, "error": row.mean_kld_standard_error, "perplexity": row.perplexity,
                "perplexity_error": row.perplexity_standard_error,
                "number": front.trial if ours else numbers.get(row.name),
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
