"""What a study's ended trials say of it as a whole: its best, how good its forecasts are, what pruning costs.

Ended trials do not change, so whoever looks often may keep it until another has ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.search.best import RIVALS_ONLY, best_of_study
from optimizer.search.honesty import Honesty
from optimizer.search.trial_findings import honesty_of
from optimizer.store import StudyRecord, TrialRecord


@dataclass(frozen=True)
class Standing:
    """`best`: as it was read, so perhaps without its LAYER_TYPES. `pruning`: None where nothing may be left out."""

    best: TrialRecord | None
    honesty: Honesty
    pruning: tuple[str, ...] | None = None


def standing_of(record: StudyRecord, ended: Sequence[TrialRecord]) -> Standing:
    """ended: its complete and pruned trials; their params and LAYER_TYPES are not needed."""
    pruning = None
    if record.config.get("prune"):
        from optimizer.search.prune_report import pruning_so_far  # scipy and Optuna: most of a second

        rivals_only = (record.progress or {}).get(RIVALS_ONLY, ())
        pruning = tuple(pruning_so_far(ended, rivals_only, {trial.budget_bytes for trial in ended}))
    return Standing(best_of_study(record, ended), honesty_of(ended), pruning)
