"""A trial's race: where it begins, what ends it, and what is kept of one that is out."""

from math import sqrt
from statistics import stdev
from types import SimpleNamespace
from typing import Any

import pytest

from evaluators.divergence import Score
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import FULL_TEXT_ESTIMATE
from optimizer.search.draw import Draw
from optimizer.search.race import PAIRED_ERROR, race
from optimizer.search.sampler import SHARE_ATTRIBUTE
from optimizer.store import TrialOutcome
from tests.search.chunk_scores import chunk_score

CHUNKS = 32
DRAW = Draw(CHUNKS, tuple(range(CHUNKS)), (1.0,) * CHUNKS, None)
RECIPE = Recipe({"t": "Q4_K"})


class Drawn:
    """A measurer of one recipe, which remembers the chunks of every call."""

    def __init__(self, by_chunk: list[float]) -> None:
        self.text, self.batch = SimpleNamespace(n_chunks=CHUNKS), 4
        self._by_chunk = by_chunk
        self.calls: list[tuple[int, ...]] = []

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "", *, start: int = 0) -> Any:
        self.calls.append(DRAW.turned(start).order[:n_chunks])
        score = Score(tuple(chunk_score(chunk, self._by_chunk[chunk]) for chunk in sorted(self.calls[-1])))
        by_chunk = {chunk.chunk: chunk.mean_kld for chunk in score.chunks}
        return SimpleNamespace(by_chunk=by_chunk, new_tokens=len(by_chunk), score=score)


def run(candidate: Drawn, incumbent: Drawn | None, number: int, share: float = 1.0) -> TrialOutcome:
    against = None if incumbent is None else incumbent.measure(RECIPE, CHUNKS)
    return race(RECIPE, "trial", candidate, against, 0.25, share, number)[0]  # type: ignore[arg-type]  # only measures


def test_each_trial_begins_a_rung_further_and_all_chunks_are_seen_alike() -> None:
    incumbent = Drawn([1.0] * CHUNKS)
    seen: list[int] = []
    for number in range(8):
        candidate = Drawn([2.0 + 0.01 * chunk for chunk in range(CHUNKS)])
        assert run(candidate, incumbent, number).state == "pruned"
        (first,) = candidate.calls
        seen += first
    assert sorted(seen) == sorted(2 * list(range(CHUNKS)))


def test_who_leads_by_luck_on_some_chunks_does_not_stop_better_ones_for_good() -> None:
    lucky = Drawn([0.5] * 8 + [1.2] * 24)
    better = [0.8 + 0.01 * (chunk % 2) for chunk in range(CHUNKS)]
    assert run(Drawn(better), lucky, 0).state == "pruned"
    for number in (1, 2, 3):
        assert run(Drawn(better), lucky, number).state == "complete"


def test_later_stages_go_on_from_the_first_and_around_the_end() -> None:
    candidate = Drawn([1.0] * CHUNKS)
    assert run(candidate, Drawn([1.0] * CHUNKS), 3).state == "complete"
    assert candidate.calls == [
        tuple(range(24, 32)),
        (*range(24, 32), *range(8)),
        (*range(24, 32), *range(24)),
    ]


def test_the_first_of_all_sees_everything() -> None:
    candidate = Drawn([1.0] * CHUNKS)
    outcome = run(candidate, None, 5)
    assert (outcome.state, outcome.chunks_scored, outcome.metrics) == ("complete", CHUNKS, None)


def test_who_is_out_keeps_an_estimate_and_its_error_beside_the_incumbent() -> None:
    klds = [1.5 + 0.1 * (chunk % 3) for chunk in range(CHUNKS)]
    outcome = run(Drawn(klds), Drawn([2.0 if chunk < 8 else 0.5 for chunk in range(CHUNKS)]), 1)
    assert outcome.metrics is not None
    part = klds[8:16]
    assert outcome.metrics[SHARE_ATTRIBUTE] == 0.25
    assert outcome.metrics[FULL_TEXT_ESTIMATE] == pytest.approx((8 * 2.0 + 24 * 0.5) / 32 * sum(part) / (8 * 0.5))
    assert outcome.metrics[PAIRED_ERROR] == pytest.approx(stdev(part) / sqrt(8) * sqrt(1 - 0.25))


def test_a_share_ends_a_race_that_is_not_lost() -> None:
    outcome = run(Drawn([0.9] * CHUNKS), Drawn([1.0] * CHUNKS), 2, share=0.5)
    assert (outcome.state, outcome.chunks_scored) == ("pruned", 16)
