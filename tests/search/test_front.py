"""The front over several budgets: monotone or said why not, and the laws of its hypervolume."""

import itertools
import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.front import (
    Reference,
    Verified,
    hypervolume,
    hypervolume_over_tokens,
    make_front,
    reference_point,
)

CORNER = Reference(n_bytes=1000, kld=1.0, smallest_bytes=100)
Files = st.lists(st.tuples(st.integers(1, 1500), st.floats(1e-6, 2.0)), max_size=12)


def verified(budget_bytes: int, chunks: list[float], *, trial: int = 0) -> Verified:
    mean = sum(chunks) / len(chunks)
    return Verified(str(budget_bytes), budget_bytes, trial, budget_bytes - 1, mean, 0.01, dict(enumerate(chunks)))


def test_falling_losses_are_the_front() -> None:
    points = make_front([verified(300, [0.1, 0.1]), verified(100, [0.4, 0.4]), verified(200, [0.2, 0.2])])
    assert [point.winner.budget_bytes for point in points] == [100, 200, 300]
    assert all(point.why_not is None and point.offered is point.winner for point in points)


@pytest.mark.parametrize(("chunks", "word"), [([0.31, 0.30, 0.32], "beyond"), ([0.10, 0.60, 0.05], "within")])
def test_a_larger_winner_that_loses_more_gives_way(chunks: list[float], word: str) -> None:
    small = verified(100, [0.2, 0.2, 0.2], trial=7)
    large = verified(200, chunks, trial=9)
    larger = verified(300, [0.1, 0.1, 0.1], trial=11)
    points = make_front([small, large, larger])
    assert [point.offered.trial for point in points] == [7, 7, 11]
    assert points[1].why_not is not None
    assert f"{word} the paired error" in points[1].why_not
    assert "trial 9 of budget 200" in points[1].why_not
    shown = points[1].as_json()
    assert (shown["trial"], shown["on_front"], shown["offered"]["trial"]) == (9, False, 7)


@given(st.lists(st.floats(0.001, 1.0), min_size=1, max_size=8))
def test_what_is_offered_never_loses_more_with_more_bytes(klds: list[float]) -> None:
    points = make_front([verified(100 * (i + 1), [kld, kld]) for i, kld in enumerate(klds)])
    offered = [point.offered for point in points]
    assert all(a.mean_kld >= b.mean_kld for a, b in itertools.pairwise(offered))
    assert all(each.size_bytes <= point.winner.budget_bytes for each, point in zip(offered, points, strict=True))


def test_volume_of_two_steps() -> None:
    volume = hypervolume([(200, math.exp(-1)), (600, math.exp(-3)), (700, math.exp(-2))], CORNER)
    assert volume == pytest.approx(400 * 1 + 400 * 3)
    assert CORNER.mean_log_reduction(volume) == pytest.approx(1600 / 900)


@pytest.mark.parametrize("file", [(1001, 0.1), (500, 1.0), (500, 1.5), (500, 0.0), (500, math.inf)])
def test_beyond_the_corner_nothing_is_gained(file: tuple[int, float]) -> None:
    assert hypervolume([file], CORNER) == 0


@given(Files, st.tuples(st.integers(1, 1500), st.floats(1e-6, 2.0)))
def test_volume_never_shrinks_and_counts_no_order(files: list[tuple[int, float]], more: tuple[int, float]) -> None:
    before = hypervolume(files, CORNER)
    after = hypervolume([more, *reversed(files)], CORNER)
    assert after >= before * (1 - 1e-12)
    dominated = any(n_bytes <= more[0] and kld <= more[1] * (1 + 1e-9) for n_bytes, kld in files)  # or as good as
    if dominated:
        assert after == pytest.approx(before)
    elif more[0] < CORNER.n_bytes and more[1] < CORNER.kld * (1 - 1e-9):
        assert after > before


@given(Files)
def test_over_tokens_ends_at_the_volume_of_all(files: list[tuple[int, float]]) -> None:
    curve = hypervolume_over_tokens([(10, n_bytes, kld) for n_bytes, kld in files], CORNER, tokens_before=5)
    assert curve[0] == (5, 0.0)
    assert curve[-1][0] == 5 + 10 * len(files)
    assert curve[-1][1] == pytest.approx(hypervolume(files, CORNER))
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(curve))


def test_trials_without_a_full_score_cost_tokens_and_add_nothing() -> None:
    curve = hypervolume_over_tokens([(10, 500, 0.1), (10, 400, None)], CORNER)
    assert curve == [(0, 0.0), (10, pytest.approx(500 * math.log(10))), (20, pytest.approx(500 * math.log(10)))]


def test_the_corner_is_the_largest_budget_and_the_smallest_file() -> None:
    assert reference_point([(300, 0.2), (100, 0.9), (100, 0.8), (2000, 0.1)], 1000) == Reference(1000, 0.8, 100)
    assert reference_point([(2000, 0.1)], 1000) is None
    assert reference_point([(100, 0.0)], 1000) is None


def test_thousands_of_trials_take_no_time() -> None:
    draw = random.Random(0)
    trials = [(10, 100 + draw.randrange(900), draw.lognormvariate(-3, 1)) for _ in range(5000)]
    started = time.perf_counter()
    curve = hypervolume_over_tokens(trials, CORNER)
    assert time.perf_counter() - started < 2
    assert curve[-1][0] == 50_000
    assert curve[-1][1] == pytest.approx(hypervolume([(size, kld) for _, size, kld in trials], CORNER))
