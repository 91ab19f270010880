"""Several at a time: what is done again before it ends, and chunks that are measured together."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from evaluators.errors import EvaluationError
from optimizer.recipes.recipe import Recipe
from optimizer.search.crew import Crew
from optimizer.search.shared_measuring import SharedMeasuring

RECIPE = Recipe({"t": "Q4_K"})
WHOLE = 16


@pytest.mark.parametrize("slots", [1, 3])
def test_work_that_is_given_back_is_done_again_before_it_ends(slots: int) -> None:
    waiting, done = list(range(6)), list[int]()

    def begin(_: int) -> int | None:
        return waiting.pop(0) if waiting else None

    def end(work: int, result: int) -> int | None:
        assert result == 2 * work
        done.append(work)
        return work + 10 if work in (1, 4) else None

    Crew(SimpleNamespace(slots=slots), begin, lambda work: 2 * work, end).run()
    assert sorted(done) == [0, 1, 2, 3, 4, 5, 11, 14]


class Chunks:
    """A measurer that keeps what was evaluated; no evaluation ends before as many as `together` are under way."""

    batch = 2

    def __init__(self, slots: int, together: int, *, idle: int = 0, fails_at: int | None = None) -> None:
        self.scorer = SimpleNamespace(slots=slots, idle=idle)
        self.evaluated: list[int] = []
        self._known, self._fails_at = set[int](), fails_at
        self._together = threading.Barrier(together)
        self._lock = threading.Lock()

    def measure_chunks(self, recipe: Recipe, chunks: Sequence[int], label: str = "") -> Any:
        if len(chunks) < WHOLE:  # a piece
            self._together.wait(timeout=30)
        return self._answer(chunks)

    def _answer(self, chunks: Sequence[int]) -> Any:
        with self._lock:
            new = [chunk for chunk in chunks if chunk not in self._known]
            if self._fails_at in new:
                self._fails_at = None
                raise EvaluationError("the candidate ended its evaluator")
            self._known.update(new)
            self.evaluated += new
        return SimpleNamespace(by_chunk=dict.fromkeys(chunks, 1.0), new_tokens=len(new))


def share(chunks: Chunks, callers: int) -> list[Any]:
    shared = SharedMeasuring()

    def measure(_: int) -> Any:
        try:
            measurer: Any = chunks
            return shared.measure(measurer, RECIPE, range(4, 4 + WHOLE), "trial", is_shared=callers > 1)
        except EvaluationError as error:
            return error

    with ThreadPoolExecutor(callers) as pool:
        return list(pool.map(measure, range(callers)))


def test_who_waits_for_the_same_chunks_measures_some_of_them() -> None:
    chunks = Chunks(4, together=4)
    results = share(chunks, 4)
    assert sorted(chunks.evaluated) == list(range(4, 20))
    assert [sorted(whole.by_chunk) for whole, _ in results] == [list(range(4, 20))] * 4
    assert [tokens for _, tokens in results] == [4, 4, 4, 4]


def test_one_alone_measures_them_at_once() -> None:
    chunks = Chunks(1, together=1)
    ((_, tokens),) = share(chunks, 1)
    assert tokens == 16


def test_a_later_stage_that_begins_with_the_same_chunk_is_cut_into_pieces_too() -> None:
    known, new = set[int](), list[int]()

    def measure_chunks(recipe: Recipe, chunks: Sequence[int], label: str) -> Any:
        new.append(len(set(chunks) - known))
        known.update(chunks)
        return SimpleNamespace(new_tokens=new[-1])

    measurer: Any = SimpleNamespace(batch=2, scorer=SimpleNamespace(slots=2, idle=0), measure_chunks=measure_chunks)
    shared = SharedMeasuring()
    for stage in (list(range(4, 20, 2)), list(range(4, 20))):
        new.clear()
        _, tokens = shared.measure(measurer, RECIPE, stage, "trial", is_shared=True)
        assert (tokens, new) == (8, [4, 4, 0])  # two pieces, and nothing is left for the whole


def test_idle_evaluators_measure_for_one_trial() -> None:
    chunks = Chunks(4, together=3, idle=2)
    ((whole, tokens),) = share(chunks, 1)
    assert sorted(chunks.evaluated) == sorted(whole.by_chunk) == list(range(4, 20))
    assert tokens == 16


def test_what_one_did_not_get_another_measures() -> None:
    chunks = Chunks(2, together=2, fails_at=5)
    results = share(chunks, 2)
    assert sum(isinstance(each, EvaluationError) for each in results) == 1
    assert sorted(chunks.evaluated) == list(range(4, 20))
