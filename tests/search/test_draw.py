"""What is drawn from a text stands for all of it: in KLD, in perplexity, and in any first part of the draw."""

from math import exp, log
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.chunk_sampling import EVENLY
from optimizer.search.draw import Draw, draw_chunks, evenly
from tests.search.chunk_scores import chunk_score

DAMAGES = st.lists(st.floats(1e-6, 10), min_size=2, max_size=60)


@given(DAMAGES, st.integers(1, 60))
def test_distinct_chunks_are_drawn_and_the_pilots_mean_is_not_far_exceeded(damages: list[float], count: int) -> None:
    pilot = [chunk_score(10 + number, damage) for number, damage in enumerate(damages)]
    draw = draw_chunks(pilot, count)
    assert len(draw.order) == len(set(draw.order)) == min(count, len(damages))
    assert set(draw.order) <= {score.chunk for score in pilot}
    assert draw.pool == len(damages)
    mean, found = sum(damages) / len(damages), draw.counted(pilot).mean_kld
    assert found <= (1 + EVENLY / (1 - EVENLY)) * mean * (1 + 1e-6)  # each counts by at least its damage's own share
    if count >= len(damages):
        assert found == pytest.approx(mean)


@given(st.permutations(range(12)), st.integers(0, 11), st.integers(0, 12))
def test_a_turned_draw_counts_as_before_and_begins_elsewhere(order: list[int], start: int, count: int) -> None:
    draw = Draw(40, tuple(order), tuple(0.5 + 0.1 * place for place in range(12)), 3.0)
    turned = draw.turned(start)
    assert dict(zip(turned.order, turned.factors, strict=True)) == dict(zip(draw.order, draw.factors, strict=True))
    assert turned.order == tuple(order[(start + place) % 12] for place in range(12))
    assert turned.first(count).order == turned.order[:count]
    assert (turned.pool, turned.reference_nll) == (draw.pool, draw.reference_nll)


def test_a_heavy_tail_is_estimated_from_a_third() -> None:
    damages = [0.01 * (1 + number % 7) + (2.0 if number % 30 == 0 else 0.0) for number in range(90)]
    pilot = [chunk_score(number, damage) for number, damage in enumerate(damages)]
    draw = draw_chunks(pilot, 30)
    other = [chunk_score(number, 0.3 * damage + 0.002) for number, damage in enumerate(damages)]
    mean = sum(score.mean_kld for score in other) / 90
    assert draw.counted(other).mean_kld == pytest.approx(mean, rel=0.1)
    for first in (8, 15):
        part = Draw(draw.pool, draw.order[:first], draw.factors[:first], draw.reference_nll)
        assert abs(log(part.counted(other).mean_kld / mean)) < 0.5


def test_perplexity_starts_from_the_whole_texts_reference() -> None:
    """Drawn chunks are the hard ones; their own perplexity would say nothing of the text's."""
    pilot = [chunk_score(n, 1.0 if n < 4 else 0.01, nll=5.0 if n < 4 else 2.0, reference_nll=5.0 if n < 4 else 2.0)
             for n in range(40)]  # fmt: skip
    draw = draw_chunks(pilot, 8)
    same = draw.counted(pilot)
    assert same.perplexity == pytest.approx(exp((4 * 5.0 + 36 * 2.0) / 40))
    assert same.perplexity == same.reference_perplexity
    assert same.log_perplexity_ratio.standard_error == pytest.approx(0.0, abs=1e-6)
    worse = [chunk_score(n, 0.1, nll=5.1 if n < 4 else 2.1, reference_nll=5.0 if n < 4 else 2.0) for n in range(40)]
    found = draw.counted(worse).log_perplexity_ratio.value
    factors = sum(draw.factors) / len(draw.factors)
    assert found == pytest.approx(0.1 * factors)
    assert draw.counted(pilot).top1_agreement == 1.0


def test_the_mean_of_any_figure_is_that_of_the_score_as_it_counts() -> None:
    pilot = [chunk_score(n, 0.1 * 1.4**n, nll=3.0) for n in range(20)]
    scores = [chunk_score(n, 0.3 * 1.3**n, nll=3.0) for n in range(20)]
    draw = draw_chunks(pilot, 6)
    mean, error = draw.mean({score.chunk: score.mean_kld for score in scores})
    counted = [score.mean_kld for score in draw.counted(scores).chunks]
    assert mean == pytest.approx(draw.counted(scores).mean_kld)
    assert error == pytest.approx(stdev(counted) / 6**0.5)
    assert evenly([7]).mean({7: 0.5}) == (0.5, 0.0)


def test_even_draws_count_all_alike_and_leave_everything_as_it_was() -> None:
    scores = tuple(chunk_score(n, 0.1 * n, nll=3.5) for n in range(5))
    draw = evenly(range(1, 4))
    assert draw.counted(scores).chunks == scores[1:4]
    assert Draw.from_json(draw.as_json()) == draw
