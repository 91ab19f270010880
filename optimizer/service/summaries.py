"""What the trials of each study say of it, kept until they change: lists and open pages ask every second."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.search.baselines import PRESET
from optimizer.search.best import RIVALS_ONLY, estimated_kld, winners
from optimizer.search.standing import Standing, standing_of
from optimizer.store import Store, StudyRecord, TrialRecord


@dataclass(frozen=True)
class Summary:
    """best: of the report, or so far. standing: None where the study is not in the database yet.

    preset: the stock preset of least KLD on search text among those of the best's budget or bytes, or fewer.
    """

    best: TrialRecord | None
    preset: TrialRecord | None
    standing: Standing | None = None

    @property
    def ratio(self) -> float | None:
        """KLD of the best over the preset's, on search text; None where there is nothing to divide."""
        theirs = full_kld(self.preset) if self.preset else None
        ours = full_kld(self.best) if self.best else None
        return ours / theirs if ours is not None and theirs else None


class Summaries:
    """One entry a study, made anew where a trial has ended since, or a report came. Safe from several threads."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, Summary]] = {}
        self._lock = threading.Lock()

    def of(self, store: Store, record: StudyRecord) -> Summary:
        """Its trials are read without their params and LAYER_TYPES, and only where something has changed."""
        ended = store.count_trials(record.id, ("complete", "pruned"))
        rivals = tuple((record.progress or {}).get(RIVALS_ONLY, ()))
        seen = (record.created_at, ended, rivals, tuple(winners(record.report)))
        with self._lock:
            known = self._kept.get(record.id)
        if known is not None and known[0] == seen:
            return known[1]
        made = summarize(record, store.ended_trials(record.id))
        with self._lock:
            self._kept[record.id] = (seen, made)
        return made


def summarize(record: StudyRecord | None, trials: Sequence[TrialRecord]) -> Summary:
    """The report's winner, of its largest budget, or the best so far; and the preset to measure it by."""
    if record is None:
        return Summary(None, None)
    standing = standing_of(record, trials)
    best = _best(record, trials, standing)
    return Summary(best, None if best is None else _preset(best, trials), standing)


def kind_of(trial: TrialRecord) -> str:
    """`preset`, `uniform`, `hybrid` of a baseline; `search` of what the search proposed itself."""
    return trial.origin.partition(":")[0] if trial.name is not None else "search"


def full_kld(trial: TrialRecord) -> float | None:
    """On all chunks of the search text; of a pruned trial as it was estimated when it was given up."""
    return trial.mean_kld if trial.state == "complete" else estimated_kld(trial)


def _best(record: StudyRecord, trials: Sequence[TrialRecord], standing: Standing) -> TrialRecord | None:
    numbers = winners(record.report)
    if numbers:
        return next((trial for trial in trials if trial.number == numbers[-1]), None)
    return standing.best


def _preset(best: TrialRecord, trials: Sequence[TrialRecord]) -> TrialRecord | None:
    limit = max(best.budget_bytes or 0, best.size_bytes)
    found = [
        trial
        for trial in trials
        if kind_of(trial) == PRESET and trial.size_bytes <= limit and full_kld(trial) is not None
    ]
    return min(found, key=lambda trial: full_kld(trial) or 0.0, default=None)
