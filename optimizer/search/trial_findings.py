"""What a study's trials and kept hints tell without any measurement: cheap to load, for commands that only look."""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.search.hints import kept_hints
from optimizer.search.honesty import Honesty, assess
from optimizer.search.prune_origin import is_pruned
from optimizer.store import TrialRecord

WIDER = "wider"
TOKENS_BEFORE_TRIALS = "tokens_before_trials"
"""Keys of a study's progress."""


def honesty_of(trials: Sequence[TrialRecord]) -> Honesty:
    """Of the search's own complete trials; baselines were not proposed, and pruned ones saw part of the text."""
    found = forecasts(trials)
    pairs = [(each["predicted_kld"], each["mean_kld"]) for each in found]
    return assess(pairs, [each["predicted_kld_standard_error"] for each in found])


def wider_object(progress: Mapping[str, Any] | None, honesty: Honesty) -> list[dict[str, Any]]:
    """The hints kept after the probes, with the error that the trials so far give them."""
    return [hint.with_error(honesty.spread) for hint in kept_hints((progress or {}).get(WIDER))]


def forecasts(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.number,
            "predicted_kld": trial.predicted_kld,
            "predicted_kld_standard_error": trial.predicted_kld_standard_error,
            "mean_kld": trial.mean_kld,
        }
        for trial in trials
        if trial.state == "complete" and trial.name is None and trial.predicted_kld is not None and not is_pruned(trial)
    ]
