"""Candidates for the recipe that is scored now, and a start on the one that comes next."""

import threading
from concurrent.futures import Future

from optimizer.quantization.candidate import Candidate
from optimizer.quantization.worker import QuantizationWorker
from optimizer.recipes.recipe import Recipe

NOW, NEXT = 0, 1


class CandidateBuilder:
    """Lets the quantization worker fill the bank ahead of the evaluator, where that has cores to spare.

    llama.cpp's threads wait for each other by spinning: on a machine whose every core evaluates, quantizing at the same
    time slows both.
    """

    def __init__(self, worker: QuantizationWorker, *, ahead: bool) -> None:
        self._worker = worker
        self._fills_ahead = ahead
        self._ahead: dict[str, Future[Candidate]] = {}
        self._lock = threading.Lock()

    def prefetch(self, recipe: Recipe) -> None:
        """Make the recipe's shards in the background, behind whatever is needed now."""
        with self._lock:
            if not self._fills_ahead or recipe.key in self._ahead:
                return
            for stale in self._ahead.values():  # known after all: its shards must not stay pinned in the bank
                if not stale.cancel():
                    stale.add_done_callback(_let_go)
            self._ahead.clear()
            self._ahead[recipe.key] = self._worker.submit(recipe, NEXT)

    def build(self, recipe: Recipe) -> Candidate:
        """The recipe's candidate; waits for shards that are missing."""
        with self._lock:
            future = self._ahead.pop(recipe.key, None)
        if future is None:
            future = self._worker.submit(recipe, NOW)
        else:
            self._worker.prioritize(future, NOW)
        return future.result()


def _let_go(made: Future[Candidate]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().close()
