"""The finals: who leads on the search text is measured on more of it, which no race has seen, before it is crowned.

The best of many trials on one text was also lucky in that text. On fresh chunks of the same text it was not, so its
paired difference from the incumbent there is without that bias, and decides. The same fresh chunks serve all finals
of a budget (the incumbent's are measured once), so of n who came so far the n-th needs a lead of sqrt(2 ln n)
standard errors: none the first, and then what the best of n equals has by luck (`luck`). A third of the fresh chunks
comes first, and all of them only where that third leaves it open.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.luck import expected_lead
from optimizer.search.measuring import Measurer
from optimizer.search.racing import PairedDifference, compare
from optimizer.search.samplers import NEED_PROBES
from optimizer.search.shared_measuring import SharedMeasuring
from optimizer.search.texts import TextChoice, prepare_text

FINAL_TEXTS = 3
"""Fresh chunks, as many times those of the full text."""
FIRST_SHARE = 1 / 3
"""Part of the fresh chunks that every final sees."""
CLEAR = 1.0
"""Standard errors from the verdict's line at which the first part is enough."""


@dataclass(frozen=True)
class FinalVerdict:
    """`reason`: why the challenger was not crowned, in words; None where it is. `difference`: challenger - incumbent.

    new_tokens: evaluated for it now.
    """

    reason: str | None
    difference: PairedDifference
    new_tokens: int


class Finals:
    """`open_text(n)` gives a measurer of the first n chunks of the search text, of which `seen` were raced on."""

    def __init__(self, open_text: Callable[[int], Measurer], seen: int, chunks: int) -> None:
        self._open_text = open_text
        self._seen = seen
        self._chunks = chunks
        self._measurer: Measurer | None = None
        self._lock = threading.Lock()
        """Several may play at a time: the text is opened by the first."""
        self._together = SharedMeasuring()

    def play(self, challenger: Recipe, incumbent: Recipe, entrants: int, label: str) -> FinalVerdict | None:
        """entrants: finals of this budget so far, this one included. None where the text has no fresh chunk left.

        Raises EvaluationError.
        """
        with self._lock:
            if self._measurer is None:
                self._measurer = self._open_text(self._seen + self._chunks)
            measurer = self._measurer
        last = min(measurer.text.n_chunks, self._seen + self._chunks)
        if last < self._seen + 2:
            return None
        batch, spent = measurer.batch, 0
        first = min(last, self._seen + max(2, ceil(FIRST_SHARE * self._chunks / batch) * batch))
        for start, n_chunks in ((self._seen, first), (first, last)):
            new, said = range(start, n_chunks), f"{label}: the incumbent"
            ours, tokens = self._together.measure(measurer, challenger, new, label, is_shared=False)
            theirs, more = self._together.measure(measurer, incumbent, new, said, is_shared=True)
            spent += tokens + more
            fresh = range(self._seen, n_chunks)
            found = compare({c: ours.by_chunk[c] for c in fresh}, {c: theirs.by_chunk[c] for c in fresh})
            if n_chunks == last or is_clear(found, entrants):
                break
        return FinalVerdict(verdict(found, entrants), found, spent)


def is_clear(difference: PairedDifference, entrants: int) -> bool:
    """Whether more chunks are not worth their tokens: it is behind, or ahead of what luck gives, by far enough."""
    lead, error = -difference.mean, difference.standard_error
    return lead < -CLEAR * error or lead > (expected_lead(entrants) + CLEAR) * error


def verdict(difference: PairedDifference, entrants: int) -> str | None:
    """Why this difference on fresh text crowns nobody; None where it does."""
    lead, error = -difference.mean, difference.standard_error
    needed = expected_lead(entrants) * error
    if lead > needed:
        return None
    if lead <= 0:
        return f"on {difference.chunks} fresh chunks of the search text it is behind by {-lead:.6f} ± {error:.6f}"
    return (
        f"on {difference.chunks} fresh chunks of the search text it is ahead by {lead:.6f} ± {error:.6f}, no more "
        f"than the best of {entrants} equals is by luck ({expected_lead(entrants):.1f} standard errors)"
    )


def open_finals(context: SearchContext, bench: Bench, choice: TextChoice, seen: int) -> Finals | None:
    """More of the search text for those that lead on it; its reference is made when the first of them comes.

    None where the settings want none, and for samplers that know no sensitivities: they are raced as they are.
    """
    config = context.plan.config
    if config.sampler not in NEED_PROBES or config.evaluation.final_chunks == 0:
        return None

    def more_text(chunks: int) -> Measurer:
        return bench.measurer(context.lease, prepare_text(bench, choice, chunks), context.reporter)

    return Finals(more_text, seen, config.evaluation.final_chunks or FINAL_TEXTS * config.evaluation.chunks)
