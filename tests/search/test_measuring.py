"""Any chunks are scored once: a sample is kept as runs, and the whole text later takes only what is missing."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from evaluators.divergence import ChunkScore, Score
from optimizer.progress import SilentReporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.draw import Draw
from optimizer.search.measuring import Measurer
from optimizer.search.scoring import MeasuredText
from optimizer.store import NewEvaluation

TOKENS = 64


def score_of(chunk: int) -> ChunkScore:
    """KLD of chunk c is c."""
    fields = dict.fromkeys(ChunkScore.__dataclass_fields__, 0.0) | {"chunk": chunk, "tokens": 32, "same_top": 0}
    return ChunkScore(**(fields | {"kld_sum": 32.0 * chunk}))  # type: ignore[arg-type]


class Rows:
    """A store of one recipe's evaluations."""

    def __init__(self) -> None:
        self.kept: list[NewEvaluation] = []
        self.recipes_asked_for = 0

    def add_recipe(self, *_: Any, **__: Any) -> Any:
        self.recipes_asked_for += 1
        return SimpleNamespace(id=1)

    def find_evaluations(self, *_: Any) -> list[NewEvaluation]:
        return self.kept

    def add_evaluations(self, rows: list[NewEvaluation], lease: None) -> None:
        self.kept += rows


class Scorer:
    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    def score(self, recipe: Recipe, text: MeasuredText, chunks: Sequence[int], progress: Any) -> Score:
        self.calls.append(list(chunks))
        return Score(tuple(map(score_of, chunks)))


def measurer_of(rows: Rows, scorer: Scorer) -> Measurer:
    sizes = SimpleNamespace(file_size=lambda *_, **__: 1)
    text = MeasuredText(1, "", Path(), Path(), "", 6, TOKENS)
    model = SimpleNamespace(id=1)
    return Measurer(rows, None, scorer, model, sizes, text, SilentReporter())  # type: ignore[arg-type]  # stand-ins


def test_a_sample_is_kept_as_runs_and_the_whole_text_takes_the_rest() -> None:
    rows, scorer = Rows(), Scorer()
    measurer = measurer_of(rows, scorer)
    recipe = Recipe({"t": "Q4_K"})
    sample = measurer.measure_chunks(recipe, (1, 2, 5))
    assert scorer.calls == [[1, 2, 5]]  # decoded together
    assert sample.by_chunk == {1: 1.0, 2: 2.0, 5: 5.0}
    assert sample.new_tokens == 3 * TOKENS
    assert [(row.first_chunk, row.n_chunks, row.tokens) for row in rows.kept] == [(1, 2, 2 * TOKENS), (5, 1, TOKENS)]
    whole = measurer.measure(recipe, 6)
    assert scorer.calls[1:] == [[0], [3, 4]]
    assert whole.by_chunk == {chunk: float(chunk) for chunk in range(6)}
    assert whole.new_tokens == 3 * TOKENS
    assert measurer.measure_chunks(recipe, (1, 5)).new_tokens == 0
    assert rows.recipes_asked_for == 1


def test_what_is_drawn_is_measured_in_the_draws_order_and_counts_as_drawn() -> None:
    rows, scorer = Rows(), Scorer()
    whole = measurer_of(rows, scorer)
    measurer = whole.drawn(Draw(pool=6, order=(5, 1, 3), factors=(0.5, 2.0, 1.0), reference_nll=3.0))
    assert measurer.text.n_chunks == 3
    recipe = Recipe({"t": "Q4_K"})
    first = measurer.measure(recipe, 2)
    assert scorer.calls == [[1, 5]]
    assert first.by_chunk == {1: 2.0, 5: 2.5}
    assert first.score.mean_kld == 2.25
    everything = measurer.measure(recipe, 3)
    assert scorer.calls == [[1, 5], [3]]
    assert everything.new_tokens == TOKENS
    assert whole.measure_chunks(recipe, [1, 5]).by_chunk == {1: 1.0, 5: 5.0}  # kept as measured
    turned = measurer.measure(recipe, 2, start=2)
    assert turned.by_chunk == {3: 3.0, 5: 2.5}  # its last chunk, then its first
