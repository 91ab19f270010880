"""The finals: fresh chunks, drawn by a pilot's damage there, decide together with those of the race."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from evaluators.divergence import Score
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import FRESH_CHUNKS, FRESH_DIFFERENCE, FULL_TEXT_ESTIMATE, LUCK, POOLED_KLD, only_lucky
from optimizer.search.finals import Finals
from optimizer.search.leader import Leader
from optimizer.search.optuna_view import optuna_view
from optimizer.search.race import PAIRED_ERROR
from optimizer.search.racing import PairedDifference
from optimizer.search.sampler import PAIRED_ERROR_ATTRIBUTE, STANDARD_ERROR_ATTRIBUTE
from optimizer.store import TrialOutcome, TrialRecord
from tests.search.chunk_scores import chunk_score

SEEN, FRESH, DRAWN = 8, 24, 8
A, B, PILOT = Recipe({"t": "Q4_K"}), Recipe({"t": "Q5_K"}), Recipe({"t": "Q3_K"})
LED = PairedDifference(-0.01, 0.01, SEEN)
"""B - A in the race."""
BLANK = TrialRecord(**dict.fromkeys(TrialRecord.__dataclass_fields__))  # type: ignore[arg-type]  # each test says what counts


class Text:
    """A measurer that knows each recipe's KLD by chunk, and remembers which chunks were new."""

    def __init__(self, n_chunks: int, **by_type: list[float]) -> None:
        self.text, self.batch, self.scorer = SimpleNamespace(n_chunks=n_chunks), 4, SimpleNamespace(slots=1, idle=0)
        self._by_type = by_type
        self.evaluated: dict[str, list[int]] = {}

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "") -> Any:
        return self.measure_chunks(recipe, range(n_chunks), label)

    def measure_chunks(self, recipe: Recipe, chunks: Sequence[int], label: str = "") -> Any:
        name = recipe.tensor_types["t"]
        known = self.evaluated.setdefault(name, [])
        new = [chunk for chunk in chunks if chunk not in known and chunk >= SEEN]
        known.extend(new)
        score = Score(tuple(chunk_score(chunk, self._by_type[name][chunk]) for chunk in chunks))
        by_chunk = {chunk.chunk: chunk.mean_kld for chunk in score.chunks}
        return SimpleNamespace(by_chunk=by_chunk, new_tokens=100 * len(new), score=score, recipe=recipe)


def finals(text: Text, pilot: Recipe | None = None) -> Finals:
    return Finals(lambda chunks: text, SEEN, FRESH, DRAWN, 0.5, pilot)  # type: ignore[arg-type, return-value]  # a text that only measures


def test_who_is_clearly_behind_sees_a_part_of_those_drawn() -> None:
    noise = [0.001 * (-1) ** chunk for chunk in range(32)]
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.5] * SEEN + [1.1 + each for each in noise[SEEN:]])
    played = finals(text).play(B, A, LED, "trial")
    assert played is not None
    assert played.fresh.mean == pytest.approx(0.1)
    assert played.fresh.chunks == DRAWN // 2
    assert played.together.chunks == SEEN + DRAWN // 2
    assert played.together.mean == pytest.approx((8 * -0.01 + 4 * 0.1) / 12)
    assert played.new_tokens == (DRAWN + DRAWN // 2) * 100


@pytest.mark.parametrize("shift", [-0.002, 0.002])
def test_who_is_not_clearly_behind_sees_all_of_them(shift: float) -> None:
    """Ahead by a little, or behind by less than the error."""
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[1.0 + shift + 0.05 * (-1) ** chunk for chunk in range(32)])
    played = finals(text).play(B, A, PairedDifference(shift, 0.02, SEEN), "trial")
    assert played is not None
    assert played.fresh.chunks == DRAWN
    assert played.together.mean == pytest.approx(shift)
    assert set(text.evaluated["Q5_K"]) == set(text.evaluated["Q4_K"]) == set(range(SEEN, SEEN + DRAWN))
    assert played.new_tokens == 2 * DRAWN * 100


def test_what_is_known_is_not_measured_again() -> None:
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.9 + 0.001 * (chunk % 3) for chunk in range(32)])
    played = finals(text).play(B, A, LED, "trial")
    assert played is not None
    assert played.fresh.mean < -0.09
    again = finals(text).play(B, A, LED, "trial")
    assert again is not None
    assert again.new_tokens == 0


def test_chunks_are_drawn_where_the_pilot_loses_most_and_count_for_the_others() -> None:
    """Recipes that lose like the pilot in a few chunks: their difference over all fresh ones is found from a third."""
    damage = [1.0] * SEEN + [9.0 if chunk % 6 == 0 else 0.1 for chunk in range(FRESH)]
    text = Text(32, Q3_K=damage, Q4_K=[0.5 * each for each in damage], Q5_K=[0.4 * each for each in damage])
    played = finals(text, PILOT).play(B, A, LED, "trial")
    assert played is not None
    assert played.fresh.mean == pytest.approx(-0.1 * sum(damage[SEEN:]) / FRESH, rel=0.1)
    severe = {SEEN + chunk for chunk in range(0, FRESH, 6)}
    assert severe <= set(text.evaluated["Q4_K"]) == set(text.evaluated["Q5_K"])
    assert len(text.evaluated["Q4_K"]) == DRAWN
    assert text.evaluated["Q3_K"] == list(range(SEEN, SEEN + FRESH))
    assert played.new_tokens == (FRESH + 2 * DRAWN) * 100


def test_a_text_without_fresh_chunks_plays_no_final() -> None:
    assert finals(Text(SEEN + 1, Q4_K=[1.0] * 9, Q5_K=[0.9] * 9)).play(B, A, LED, "trial") is None


def test_the_leader_asks_fresh_text_and_counts_the_tokens() -> None:
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.5] * SEEN + [1.7 + 0.001 * (chunk % 2) for chunk in range(24)])
    leader = Leader(None, (), finals=finals(text))
    first = replace(BLANK, state="complete", origin="mean", metrics=None)
    done = TrialOutcome("complete", tokens_spent=500)
    assert leader.ask(first, A, done, text.measure(A, SEEN)) == done
    leader.crown(first, text.measure(A, SEEN))
    outcome = leader.ask(first, B, done, text.measure(B, SEEN))
    assert outcome.tokens_spent == 500 + 2 * DRAWN * 100
    assert outcome.metrics is not None
    assert (outcome.metrics[FRESH_CHUNKS], outcome.metrics[FRESH_DIFFERENCE]) == (8, pytest.approx(0.7, abs=0.002))
    second = replace(first, metrics=outcome.metrics)
    assert only_lucky(second) == outcome.metrics[LUCK]
    assert not leader.crown(second, text.measure(B, SEEN))
    assert "behind by 0.70" in outcome.metrics[LUCK]


def test_a_small_lead_over_all_chunks_is_enough() -> None:
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.9] * SEEN + [1.05 + 0.04 * (-1) ** chunk for chunk in range(FRESH)])
    leader = Leader(None, (), finals=finals(text))
    trial = replace(BLANK, state="complete", origin="mean")
    leader.crown(trial, text.measure(A, SEEN))
    outcome = leader.ask(trial, B, TrialOutcome("complete"), text.measure(B, SEEN))
    assert outcome.metrics is not None
    assert LUCK not in outcome.metrics
    assert outcome.metrics[POOLED_KLD] == pytest.approx(0.975)
    assert leader.crown(replace(trial, metrics=outcome.metrics), text.measure(B, SEEN))


def test_the_surrogate_is_told_what_all_chunks_of_a_finalist_found() -> None:
    worse, better = [0.5] * SEEN + [1.7] * FRESH, [0.8] * SEEN + [0.7] * FRESH
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
    # 8 chunks of the race and 8 fresh ones: 0.5 and 1.7, then 0.8 and 0.7; then 0.1 less and the same.
    error = 0.2 / 2**0.5
    assert told == [pytest.approx(pair) for pair in ((1.1, error), (0.75, error), (0.75 - 0.1 / 2, error))]


def test_who_comes_into_no_final_is_told_as_far_from_the_incumbent_as_the_race_found() -> None:
    """The incumbent's finals found it better than its race; others would stand beside what is told of it."""
    text = Text(32, Q4_K=[1.0] * 32, Q5_K=[0.9] * SEEN + [0.5] * FRESH, Q6_K=[1.2] * 32)
    leader = Leader(None, (), finals=finals(text))
    first = replace(BLANK, state="complete", origin="mean")
    leader.crown(first, text.measure(A, SEEN))
    assert leader.on_race_scale(0.8) == 0.8
    won = leader.ask(first, B, TrialOutcome("complete"), text.measure(B, SEEN))
    assert leader.crown(replace(first, metrics=won.metrics), text.measure(B, SEEN))
    assert won.metrics is not None
    gap = won.metrics[POOLED_KLD] - 0.9
    assert gap == pytest.approx((8 * 0.9 + 8 * 0.5) / 16 - 0.9)
    assert leader.on_race_scale(0.8) == pytest.approx(0.8 - gap)
    assert leader.on_race_scale(None) is None
    worse = leader.ask(first, A, TrialOutcome("complete"), text.measure(Recipe({"t": "Q6_K"}), SEEN))
    out = TrialOutcome("pruned", metrics={FULL_TEXT_ESTIMATE: 1.1, PAIRED_ERROR: 0.03})
    out = leader.ask(first, A, out, text.measure(Recipe({"t": "Q6_K"}), 4))
    told = []
    for outcome in (worse, out):
        ended = replace(BLANK, state=outcome.state, mean_kld=1.2, mean_kld_standard_error=0.1, metrics=outcome.metrics)
        _, value, attributes = optuna_view(replace(ended, chunks_scored=SEEN))
        told.append((value, attributes.get(PAIRED_ERROR_ATTRIBUTE)))
    assert told == [(pytest.approx(1.2 + gap), None), (pytest.approx(1.1 + gap), 0.03)]
    failed = TrialOutcome("failed", error="no")
    assert leader.ask(first, A, failed, text.measure(A, SEEN)) == failed


def test_who_came_into_no_final_is_told_as_measured() -> None:
    trial = replace(BLANK, state="complete", mean_kld=0.3, mean_kld_standard_error=0.1, chunks_scored=SEEN)
    _, value, attributes = optuna_view(trial)
    assert (value, attributes[STANDARD_ERROR_ATTRIBUTE]) == (0.3, 0.1)
