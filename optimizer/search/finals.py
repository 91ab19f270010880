"""The finals: who leads on the search text is measured on more of it, which no race has seen, before it is crowned.

The best of many trials on one text was also lucky in that text; on fresh chunks of it, it was not. Whoever has less KLD
over the chunks of the race and the fresh ones together is the better guess, and leads from then on. No lead is too
small: in eight searches of 900,000 tokens, winners by this rule lost 0.91 of what the first proposals did on report
text, winners whose lead on fresh chunks had to exceed the luck of the best of n (`luck`) 0.95. The same fresh chunks
serve all finals; which ones is drawn by damage (`draw`).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.draw import Draw, draw_chunks, evenly
from optimizer.search.measuring import Measurer
from optimizer.search.probing import pilot_of, plan_probing
from optimizer.search.racing import PairedDifference, compare
from optimizer.search.samplers import NEED_PROBES
from optimizer.search.shared_measuring import SharedMeasuring
from optimizer.search.texts import TextChoice, prepare_text

FINAL_TEXTS = 2
"""Fresh chunks, as many times those of the full text."""


@dataclass(frozen=True)
class Final:
    """`difference` on fresh chunks: challenger - incumbent. new_tokens: evaluated for it now."""

    difference: PairedDifference
    new_tokens: int


class Finals:
    """`open_text(n)` gives a measurer of the first n chunks of the search text, of which `seen` may have been seen."""

    def __init__(
        self, open_text: Callable[[int], Measurer], seen: int, chunks: int, drawn: int, pilot: Recipe | None
    ) -> None:
        """chunks: fresh ones, of which every final sees `drawn`. pilot: measured on all of them to draw by its damage;
        without it the first are taken.
        """
        self._open_text = open_text
        self._seen = seen
        self._chunks = chunks
        self._drawn = drawn
        self._pilot = pilot
        self._measurer: Measurer | None = None
        self._lock = threading.Lock()
        """Several may play at a time: the text is opened by the first."""
        self._together = SharedMeasuring()

    def play(self, challenger: Recipe, incumbent: Recipe, label: str) -> Final | None:
        """None where the text has no fresh chunk left. Raises EvaluationError."""
        with self._lock:
            if self._measurer is None:
                self._measurer = self._open_text(self._seen + self._chunks)
            measurer = self._measurer
        fresh = range(self._seen, min(measurer.text.n_chunks, self._seen + self._chunks))
        if len(fresh) < 2:
            return None
        draw, spent = self._draw(measurer, fresh, label)
        found = []
        for recipe, said, is_shared in ((challenger, label, False), (incumbent, f"{label}: the incumbent", True)):
            raw, tokens = self._together.measure(measurer, recipe, sorted(draw.order), said, is_shared=is_shared)
            found.append({chunk.chunk: chunk.mean_kld for chunk in draw.counted(raw.score.chunks).chunks})
            spent += tokens
        return Final(compare(*found), spent)

    def _draw(self, measurer: Measurer, fresh: range, label: str) -> tuple[Draw, int]:
        """The chunks that all finals see, the same for all, and the tokens evaluated now to know them."""
        if self._pilot is None or self._drawn >= len(fresh):
            return evenly(fresh[: self._drawn]), 0
        pilot, tokens = self._together.measure(measurer, self._pilot, fresh, f"{label}: where", is_shared=True)
        return draw_chunks(pilot.score.chunks, self._drawn), tokens


def open_finals(context: SearchContext, bench: Bench, choice: TextChoice, seen: int) -> Finals | None:
    """More of the search text for those that lead on it; its reference is made when the first of them comes.

    None where the settings want none, and for samplers that know no sensitivities: they are raced as they are.
    """
    config = context.plan.config
    chunks, fresh = config.evaluation.chunks, config.evaluation.final_chunks
    if config.sampler not in NEED_PROBES or fresh == 0:
        return None

    def more_text(count: int) -> Measurer:
        return bench.measurer(context.lease, prepare_text(bench, choice, count), context.reporter)

    pilot = pilot_of(plan_probing(context.plan))
    return Finals(more_text, seen, fresh or FINAL_TEXTS * chunks, chunks, None if pilot is None else pilot.recipe)
