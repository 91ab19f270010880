"""The finals: who leads on the search text is measured on more of it, which no race has seen, before it is crowned.

The best of many trials on one text was also lucky in that text; on fresh chunks of it, it was not. Whoever has less KLD
over the chunks of the race and the fresh ones together is the better guess, and leads from then on. No lead is too
small: in eight searches of 900,000 tokens, winners by this rule lost 0.91 of what the first proposals did on report
text, winners whose lead on fresh chunks had to exceed the luck of the best of n (`luck`) 0.95.

A final goes on like the race. The challenger sees a few fresh chunks first, then twice as many, and so on up to as many
as a trial sees; once it is clearly behind, it is out. The same chunks serve all finals; which ones is drawn by damage
(`draw`). More of them were not worth their tokens (docs/log.md).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.draw import Draw, draw_chunks, evenly
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.probing import pilot_of, plan_probing
from optimizer.search.racing import PairedDifference, compare, rungs
from optimizer.search.samplers import NEED_PROBES
from optimizer.search.shared_measuring import SharedMeasuring
from optimizer.search.texts import TextChoice, prepare_text

FINAL_TEXTS = 2
"""Fresh chunks, as many times those of the full text."""


@dataclass(frozen=True)
class Final:
    """Challenger - incumbent on fresh chunks, and on those of the race and the fresh ones together.

    new_tokens: evaluated for it now.
    """

    fresh: PairedDifference
    together: PairedDifference
    new_tokens: int


class Finals:
    """`open_text(n)` gives a measurer of the first n chunks of the search text, of which `seen` may have been seen."""

    def __init__(
        self,
        open_text: Callable[[int], Measurer],
        seen: int,
        chunks: int,
        drawn: int,
        first_rung: float,
        pilot: Recipe | None,
    ) -> None:
        """chunks: fresh ones, of which finals see `drawn`, and such a share of these at first. pilot: measured on all
        of them to draw by its damage; without it the first are taken.
        """
        self._open_text = open_text
        self._seen = seen
        self._chunks = chunks
        self._drawn = drawn
        self._first_rung = first_rung
        self._pilot = pilot
        self._measurer: Measurer | None = None
        self._lock = threading.Lock()
        """Several may play at a time: the text is opened by the first."""
        self._shared = SharedMeasuring()

    def play(self, challenger: Recipe, incumbent: Recipe, raced: PairedDifference, label: str) -> Final | None:
        """raced: challenger - incumbent in the race. None where the text has no fresh chunk left. Raises
        EvaluationError.
        """
        with self._lock:
            if self._measurer is None:
                self._measurer = self._open_text(self._seen + self._chunks)
            measurer = self._measurer
        fresh = range(self._seen, min(measurer.text.n_chunks, self._seen + self._chunks))
        if len(fresh) < 2:
            return None
        draw, spent = self._draw(measurer, fresh, label)
        said = f"{label}: the incumbent"
        theirs, tokens = self._shared.measure(measurer, incumbent, draw.chunks, said, is_shared=True)
        spent += tokens
        for count in rungs(len(draw.order), self._first_rung, measurer.batch):
            stage = draw.first(count)
            ours, tokens = self._shared.measure(measurer, challenger, stage.chunks, label, is_shared=False)
            spent += tokens
            found = compare(_by_chunk(stage, ours), _by_chunk(stage, theirs))
            final = Final(found, raced.with_more(found), spent)
            if final.together.is_behind:
                break
        return final

    def _draw(self, measurer: Measurer, fresh: range, label: str) -> tuple[Draw, int]:
        """The chunks that finals see, the same for all, and the tokens evaluated now to know them."""
        if self._pilot is None or self._drawn >= len(fresh):
            return evenly(fresh[: self._drawn]), 0
        pilot, tokens = self._shared.measure(measurer, self._pilot, fresh, f"{label}: where", is_shared=True)
        return draw_chunks(pilot.score.chunks, self._drawn), tokens


def _by_chunk(stage: Draw, measured: Measurement) -> dict[int, float]:
    """Mean KLD of each chunk as it counts."""
    return {score.chunk: score.mean_kld for score in stage.counted(measured.score.chunks).chunks}


def open_finals(context: SearchContext, bench: Bench, choice: TextChoice, seen: int) -> Finals | None:
    """More of the search text for those that lead on it; its reference is made when the first of them comes.

    None where the settings want none, and for samplers that know no sensitivities: they are raced as they are.
    """
    settings = context.plan.config.evaluation
    if context.plan.config.sampler not in NEED_PROBES or settings.final_chunks == 0:
        return None

    def more_text(count: int) -> Measurer:
        return bench.measurer(context.lease, prepare_text(bench, choice, count), context.reporter)

    fresh = settings.final_chunks or FINAL_TEXTS * settings.chunks
    pilot = pilot_of(plan_probing(context.plan))
    recipe = None if pilot is None else pilot.recipe
    return Finals(more_text, seen, fresh, settings.chunks, settings.first_rung, recipe)
