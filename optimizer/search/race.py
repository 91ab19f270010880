"""One trial's race: score rung after rung of the text, and stop where the incumbent is out of reach.

Every trial begins at another place of the drawn chunks, a rung further than the one before. Began all at the same
place, what a search learns from trials that saw one rung, nine of ten by layers on the demo model, would be true of
those chunks alone (docs/log.md); and whoever led by luck on them would stop better ones for good.
"""

from collections.abc import Mapping
from math import ceil, sqrt

from optimizer.recipes.recipe import Recipe
from optimizer.search.best import FULL_TEXT_ESTIMATE
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.racing import compare, full_text_estimate, rungs
from optimizer.search.sampler import SHARE_ATTRIBUTE
from optimizer.store import TrialOutcome

PAIRED_ERROR = "paired_standard_error"
"""Metric of a trial that is out: the standard error of its full-text estimate beside the incumbent's KLD, nats per
token."""


def race(
    recipe: Recipe,
    label: str,
    measurer: Measurer,
    incumbent: Measurement | None,
    first_rung: float,
    share: float,
    number: int,
) -> tuple[TrialOutcome, Measurement]:
    """Out as soon as the paired test says so, or once `share` of the chunks was seen; complete with the full text.

    first_rung: share of the full text that every candidate sees. number: the trial's.
    """
    everything, batch = measurer.text.n_chunks, measurer.batch
    last = min(everything, ceil(share * everything / batch) * batch)
    spent = 0
    stages = rungs(last, first_rung * everything / last, batch)
    start = number * stages[0] % everything
    for n_chunks in stages:
        measurement = measurer.measure(recipe, n_chunks, label, start=start)
        spent += measurement.new_tokens
        if n_chunks == everything:
            break
        others = incumbent.by_chunk if incumbent else measurement.by_chunk
        difference = compare(measurement.by_chunk, others)
        if n_chunks == last or difference.is_behind:
            unseen = 1 - n_chunks / everything
            metrics = {
                PAIRED_ERROR: difference.standard_error * sqrt(unseen),
                FULL_TEXT_ESTIMATE: full_text_estimate(measurement.by_chunk, others),
                SHARE_ATTRIBUTE: n_chunks / everything,
            }
            return _outcome("pruned", measurement, spent, metrics), measurement
    return _outcome("complete", measurement, spent, None), measurement


def _outcome(state: str, measurement: Measurement, spent: int, metrics: Mapping[str, float] | None) -> TrialOutcome:
    score = measurement.score
    return TrialOutcome(
        "pruned" if state == "pruned" else "complete",
        mean_kld=score.mean_kld,
        mean_kld_standard_error=score.mean_kld_standard_error,
        perplexity=score.perplexity,
        chunks_scored=len(score.chunks),
        tokens_spent=spent,
        metrics=metrics,
    )
