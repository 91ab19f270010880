"""One recipe's chunks by several evaluators: by those whose trials wait for them, and by those that have no work."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from math import ceil

from optimizer.recipes.recipe import Recipe
from optimizer.search.measuring import Measurement, Measurer


class SharedMeasuring:
    """Safe for several threads, whose pieces must come from one measurer. Who asks for chunks measures a piece that
    nobody has begun, and so do idle evaluators for it; then it waits for the pieces of the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[tuple[str, tuple[int, ...]], Future[None]] = {}

    def measure(
        self, measurer: Measurer, recipe: Recipe, chunks: Sequence[int], label: str, *, is_shared: bool
    ) -> tuple[Measurement, int]:
        """The score on these chunks, in rising order, and the tokens evaluated by the caller for it. is_shared:
        whether other trials may want the same. Raises EvaluationError; what another caller did not get, this one
        measures itself.
        """
        idle = measurer.scorer.idle
        evaluators = max(1 + idle, measurer.scorer.slots if is_shared else 1)
        share = ceil(len(chunks) / evaluators / measurer.batch) * measurer.batch
        pieces = [tuple(chunks[at : at + share]) for at in range(0, len(chunks), share)]

        def measure_pieces() -> int:
            tokens = 0
            for part in pieces:
                begun = self._begin(recipe, part)
                if begun is not None:
                    try:
                        tokens += measurer.measure_chunks(recipe, part, label).new_tokens
                    finally:
                        begun.set_result(None)
            return tokens

        helpers = min(idle, len(pieces) - 1)
        if helpers:
            with ThreadPoolExecutor(1 + helpers, thread_name_prefix="pieces") as pool:
                tokens = sum(future.result() for future in [pool.submit(measure_pieces) for _ in range(1 + helpers)])
        else:
            tokens = measure_pieces()
        wait([self._begun[recipe.key, part] for part in pieces])
        whole = measurer.measure_chunks(recipe, chunks, label)
        return whole, tokens + whole.new_tokens

    def _begin(self, recipe: Recipe, part: tuple[int, ...]) -> Future[None] | None:
        """The piece to measure; None where another has begun it."""
        with self._lock:
            if (recipe.key, part) in self._begun:
                return None
            return self._begun.setdefault((recipe.key, part), Future())
