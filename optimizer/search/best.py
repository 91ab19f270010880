"""Which trial is the best: the one rule that the report, `status`, `trials`, `export` and the mirrors share."""

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from optimizer.store import Store, StudyRecord, TrialRecord

KEPT_OUT = "kept_out"
"""The metric that says, in words, why the gate stayed shut."""
LUCK = "luck"
"""The metric that says, in words, why less KLD than the incumbent's made no incumbent."""
FRESH_CHUNKS, FRESH_DIFFERENCE, FRESH_ERROR = "fresh_chunks", "fresh_difference", "fresh_standard_error"
"""Metrics of a trial that came into the finals: chunks that no race had seen, and its KLD less the incumbent's
there."""
POOLED_KLD = "pooled_kld"
"""Metric of trials that met an incumbent where there are finals: what the surrogate is told, from the chunks of the
race and the fresh ones together; who saw none of these stands by the race as far from the incumbent."""
FULL_TEXT_ESTIMATE = "full_text_estimate"
"""Metric of a pruned trial: what its KLD would be on all chunks; those that it saw are others than other trials saw."""
PROMPTS_SOLVED, PROMPTS_TOTAL = "prompts_solved", "prompts_total"
"""Metrics of a trial that answered the search half."""
RIVALS_ONLY = "rivals_only"
"""Key of a study's progress: names of baselines of types that the search may not use."""


def kept_out(trial: TrialRecord) -> str | None:
    """Why the gate stayed shut for this trial; None where it opened, or was never asked."""
    reason = (trial.metrics or {}).get(KEPT_OUT)
    return None if reason is None else str(reason)


def only_lucky(trial: TrialRecord) -> str | None:
    """Why this trial's lead over the incumbent of its time proved nothing; None where there was no such lead."""
    reason = (trial.metrics or {}).get(LUCK)
    return None if reason is None else str(reason)


def estimated_kld(trial: TrialRecord) -> float | None:
    """Of a pruned trial on all chunks, nats per token; None of others."""
    estimate = (trial.metrics or {}).get(FULL_TEXT_ESTIMATE)
    return None if estimate is None else float(estimate)


def prompts_solved(trial: TrialRecord) -> str | None:
    """How many prompts of the search half this trial solved, `44 of 50`; None where it was asked none."""
    metrics = trial.metrics or {}
    return f"{metrics[PROMPTS_SOLVED]} of {metrics[PROMPTS_TOTAL]}" if PROMPTS_SOLVED in metrics else None


def best_trial(trials: Iterable[TrialRecord], rivals_only: Collection[str], budget_bytes: int) -> TrialRecord | None:
    """The complete trial of lowest KLD on search text within the budget, without rivals of types that are not allowed.

    Equal ones: the smaller, then the earlier. Those that were only lucky come behind the others, then those that the
    gate kept out, and a rival is better than nothing.
    """
    complete = [t for t in trials if t.state == "complete" and t.mean_kld is not None and t.size_bytes <= budget_bytes]
    own = [trial for trial in complete if trial.name not in rivals_only] or complete
    return min(own, key=_rank, default=None)


def _rank(trial: TrialRecord) -> tuple[bool, bool, float, int, int]:
    doubts = (kept_out(trial) is not None, only_lucky(trial) is not None)
    return (*doubts, trial.mean_kld or 0.0, trial.size_bytes, trial.number)


def best_of_study(study: StudyRecord, trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The best of a study's trials so far: the winner, if it ended now, of its largest budget."""
    return best_trial(trials, (study.progress or {}).get(RIVALS_ONLY, ()), sys.maxsize)


def winners(report: Mapping[str, Any] | None) -> list[int]:
    """Numbers of the trials that a report names, one a budget, small first; none without a report."""
    fronts = (report or {}).get("fronts") or [report or {}]
    return [int(each["best"]["trial"]) for each in fronts if "best" in each]


def reported_best(store: Store, study: StudyRecord) -> TrialRecord | None:
    """The report's winner, of the largest budget; without a report the best so far."""
    numbers = winners(study.report)
    return store.trial(study.id, numbers[-1]) if numbers else best_of_study(study, store.trials(study.id))
