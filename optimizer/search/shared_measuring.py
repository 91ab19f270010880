"""One recipe's chunks that several trials wait for: each measures a piece that nobody has begun, so that none idles."""

import threading
from concurrent.futures import Future, wait
from math import ceil

from optimizer.recipes.recipe import Recipe
from optimizer.search.measuring import Measurement, Measurer


class SharedMeasuring:
    """Safe for several threads, whose pieces must come from one measurer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, int], Future[None]] = {}

    def measure(self, measurer: Measurer, recipe: Recipe, chunks: range, label: str) -> tuple[Measurement, int]:
        """The score on chunks 0 … chunks.stop - 1, once all of `chunks` are there, and the tokens evaluated by the
        caller for it. Raises EvaluationError; what another caller did not get, this one measures itself.
        """
        share = ceil(len(chunks) / measurer.scorer.slots / measurer.batch) * measurer.batch
        pieces, tokens = [], 0
        for start in chunks[::share]:
            piece, is_mine = self._begin(recipe, start)
            pieces.append(piece)
            if is_mine:
                try:
                    part = range(start, min(start + share, chunks.stop))
                    tokens += measurer.measure_chunks(recipe, part, label).new_tokens
                finally:
                    piece.set_result(None)
        wait(pieces)
        whole = measurer.measure(recipe, chunks.stop, label)
        return whole, tokens + whole.new_tokens

    def _begin(self, recipe: Recipe, start: int) -> tuple[Future[None], bool]:
        with self._lock:
            found = self._begun.get((recipe.key, start))
            piece = found or self._begun.setdefault((recipe.key, start), Future())
            return piece, found is None
