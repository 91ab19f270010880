"""The finals: fresh text decides, a third of it where that is clear, and luck is counted by entrants."""

from dataclasses import replace
from math import log, sqrt
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.recipes.recipe import Recipe
from optimizer.search.best import FRESH_CHUNKS, FRESH_DIFFERENCE, LUCK, POOLED_KLD, only_lucky
from optimizer.search.finals import Finals, verdict
from optimizer.search.leader import Leader
from optimizer.search.optuna_view import optuna_view
from optimizer.search.racing import PairedDifference
from optimizer.search.sampler import STANDARD_ERROR_ATTRIBUTE
from optimizer.store import TrialOutcome, TrialRecord

SEEN, FRESH = 8, 24
A, B = Recipe({"t": "Q4_K"}), Recipe({"t": "Q5_K"})
BLANK = TrialRecord(**dict.fromkeys(TrialRecord.__dataclass_fields__))  # type: ignore[arg-type]  # each test says what counts


class Text:
    """A measurer that knows each recipe's KLD by chunk, and remembers what it was asked for."""

    def __init__(self, n_chunks: int, **by_type: list[float]) -> None:
        self.text, self.batch, self.scorer = SimpleNamespace(n_chunks=n_chunks), 4, SimpleNamespace(slots=1, idle=0)
        self._by_type, self._known, self.asked = by_type, dict[str, int](), list[int]()

    def measure_chunks(self, recipe: Recipe, chunks: range, label: str = "") -> Any:
        return self.measure(recipe, chunks.stop, label)

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "") -> Any:
        name = recipe.tensor_types["t"]
        self.asked.append(n_chunks)
        new = max(0, n_chunks - self._known.get(name, SEEN))
        self._known[name] = max(n_chunks, self._known.get(name, SEEN))
        by_chunk = dict(enumerate(self._by_type[name][:n_chunks]))
        mean = sum(by_chunk.values()) / n_chunks
        score = SimpleNamespace(mean_kld=mean)
        return SimpleNamespace(by_chunk=by_chunk, new_tokens=100 * new, score=score, recipe=recipe)


def finals(text: Text) -> Finals:
    return Finals(lambda chunks: text, SEEN, FRESH)  # type: ignore[arg-type, return-value]  # a text that only measures


def test_a_lead_that_was_luck_ends_on_fresh_text() -> None:
    noise = [0.001 * (-1) ** chunk for chunk in range(32)]
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.5] * SEEN + [1.1 + each for each in noise[SEEN:]])
    played = finals(text).play(B, A, 1, "trial")
    assert played is not None
    assert played.reason is not None
    assert "behind by 0.1" in played.reason
    assert played.difference.chunks == 8  # a third was enough
    assert played.new_tokens == 2 * 8 * 100


def test_a_true_lead_is_crowned_and_the_incumbent_is_measured_once() -> None:
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.9 + 0.001 * (chunk % 3) for chunk in range(32)])
    played = finals(text).play(B, A, 3, "trial")
    assert played is not None
    assert played.reason is None
    again = finals(text).play(B, A, 3, "trial")
    assert again is not None
    assert again.new_tokens == 0


def test_what_a_third_leaves_open_sees_everything() -> None:
    fresh = [1.0 + 0.5 * (-1) ** chunk for chunk in range(FRESH)]
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.9] * SEEN + fresh)
    played = finals(text).play(B, A, 1, "trial")
    assert played is not None
    assert played.difference.chunks == FRESH


def test_a_text_without_fresh_chunks_plays_no_final() -> None:
    assert finals(Text(SEEN + 1, Q4_K=[1.0] * 9, Q5_K=[0.9] * 9)).play(B, A, 1, "trial") is None


@given(st.floats(-1, 1), st.floats(1e-6, 1), st.integers(1, 50))
def test_who_is_behind_is_never_crowned_and_more_entrants_ask_for_more(mean: float, error: float, n: int) -> None:
    found = PairedDifference(mean, error, 24)
    crowned = verdict(found, n) is None
    assert crowned == (-mean > sqrt(2 * log(n)) * error)
    assert not crowned or (mean < 0 and verdict(found, max(1, n - 1)) is None)


def test_the_leader_asks_fresh_text_and_counts_the_tokens() -> None:
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.5] * SEEN + [1.1 + 0.001 * (chunk % 2) for chunk in range(24)])
    leader = Leader(None, (), finals=finals(text))
    first = replace(BLANK, state="complete", origin="mean", metrics=None)
    done = TrialOutcome("complete", tokens_spent=500)
    assert leader.ask(first, A, done, text.measure(A, SEEN)) == done
    leader.crown(first, text.measure(A, SEEN))
    outcome = leader.ask(first, B, done, text.measure(B, SEEN))
    assert outcome.tokens_spent == 500 + 2 * 8 * 100
    assert outcome.metrics is not None
    assert (outcome.metrics[FRESH_CHUNKS], outcome.metrics[FRESH_DIFFERENCE]) == (8, pytest.approx(0.1, abs=0.002))
    second = replace(first, metrics=outcome.metrics)
    assert only_lucky(second) == outcome.metrics[LUCK]
    assert not leader.crown(second, text.measure(B, SEEN))


def test_the_surrogate_is_told_what_all_chunks_of_a_finalist_found() -> None:
    worse, better = [0.5] * SEEN + [1.1] * FRESH, [0.8] * SEEN + [0.7] * FRESH
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=worse, Q6_K=better, Q8_0=[0.7] * 32)
    leader = Leader(None, (), finals=finals(text))
    leader.crown(replace(BLANK, state="complete", origin="mean"), text.measure(A, SEEN))
    told = []
    for recipe in (B, Recipe({"t": "Q6_K"}), Recipe({"t": "Q8_0"})):
        found = text.measure(recipe, SEEN)
        trial = replace(BLANK, state="complete", origin="mean", mean_kld=found.score.mean_kld, chunks_scored=SEEN)
        trial = replace(trial, mean_kld_standard_error=0.2)
        outcome = leader.ask(trial, recipe, TrialOutcome("complete"), found)
        trial = replace(trial, metrics=outcome.metrics)
        leader.crown(trial, found)
        assert trial.metrics is not None
        _, value, attributes = optuna_view(trial)
        assert value == trial.metrics[POOLED_KLD]
        told.append((value, attributes[STANDARD_ERROR_ATTRIBUTE]))
    # 8 chunks of the race and 8 fresh ones: 0.5 and 1.1, then 0.8 and 0.7; then 24 fresh ones, as before.
    assert told == [pytest.approx(pair) for pair in ((0.8, 0.2 / 2**0.5), (0.75, 0.2 / 2**0.5), (0.75 - 0.1 / 4, 0.1))]


def test_who_came_into_no_final_is_told_as_measured() -> None:
    trial = replace(BLANK, state="complete", mean_kld=0.3, mean_kld_standard_error=0.1, chunks_scored=SEEN)
    _, value, attributes = optuna_view(trial)
    assert (value, attributes[STANDARD_ERROR_ATTRIBUTE]) == (0.3, 0.1)
