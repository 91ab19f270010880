"""One trial's race: score rung after rung of the text, and stop where the incumbent is out of reach."""

from collections.abc import Mapping
from math import ceil

from optimizer.recipes.recipe import Recipe
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.racing import compare, full_text_estimate, rungs
from optimizer.search.sampler import SHARE_ATTRIBUTE
from optimizer.store import TrialOutcome

FULL_TEXT_ESTIMATE = "full_text_estimate"


def race(
    recipe: Recipe, label: str, measurer: Measurer, incumbent: Measurement | None, first_rung: float, share: float
) -> tuple[TrialOutcome, Measurement]:
    """Out as soon as the paired test says so, or once `share` of the chunks was seen; complete with the full text.

    first_rung: share of the full text that every candidate sees.
    """
    everything, batch = measurer.text.n_chunks, measurer.batch
    last = min(everything, ceil(share * everything / batch) * batch)
    spent = 0
    for n_chunks in rungs(last, first_rung * everything / last, batch):
        measurement = measurer.measure(recipe, n_chunks, label)
        spent += measurement.new_tokens
        if n_chunks == everything:
            break
        others = incumbent.by_chunk if incumbent else measurement.by_chunk
        if n_chunks == last or compare(measurement.by_chunk, others).is_behind:
            metrics = {
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
