"""Our trials in Optuna's form."""

from math import sqrt

import optuna
from optuna.trial import TrialState

from optimizer.search.best import FRESH_CHUNKS, FULL_TEXT_ESTIMATE, POOLED_KLD
from optimizer.search.race import PAIRED_ERROR
from optimizer.search.sampler import (
    BASELINE_ATTRIBUTE,
    PAIRED_ERROR_ATTRIBUTE,
    SHARE_ATTRIBUTE,
    STANDARD_ERROR_ATTRIBUTE,
    distributions,
)
from optimizer.search.space import SearchSpace
from optimizer.store import TrialRecord


def as_optuna(space: SearchSpace, trial: TrialRecord) -> optuna.trial.FrozenTrial:
    """A finished trial, as it was or would have been told."""
    state, value, attributes = optuna_view(trial)
    return optuna.create_trial(
        state=state,
        params=dict(trial.params),
        distributions=distributions(space),
        value=value,
        user_attrs=attributes,
    )


def optuna_view(trial: TrialRecord) -> tuple[TrialState, float | None, dict[str, object]]:
    """State, value and attributes of our trial in Optuna's words.

    A pruned one has its full-text estimate as value, and that one's error beside others; where there are finals, values
    are of their chunks and the race's together. One that came into them has the error of so many chunks.
    """
    metrics = trial.metrics or {}
    seen, fresh = trial.chunks_scored or 0, metrics.get(FRESH_CHUNKS, 0) if POOLED_KLD in metrics else 0
    error = (trial.mean_kld_standard_error or 0.0) * (sqrt(seen / (seen + fresh)) if fresh else 1.0)
    attributes: dict[str, object] = {STANDARD_ERROR_ATTRIBUTE: error}
    if trial.name is not None:
        attributes[BASELINE_ATTRIBUTE] = trial.name
    if trial.state == "complete":
        return TrialState.COMPLETE, metrics.get(POOLED_KLD, trial.mean_kld), attributes
    if trial.state == "pruned":
        attributes[SHARE_ATTRIBUTE] = metrics.get(SHARE_ATTRIBUTE, 1.0)
        attributes[PAIRED_ERROR_ATTRIBUTE] = metrics.get(PAIRED_ERROR, 0.0)
        return TrialState.PRUNED, metrics.get(POOLED_KLD, metrics.get(FULL_TEXT_ESTIMATE, trial.mean_kld)), attributes
    return TrialState.FAIL, None, attributes
