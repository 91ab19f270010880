"""Chunks drawn by a pilot's damage: so many, none twice, and a mean that is right."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.chunk_sampling import sample_chunks


def estimate(sample: Mapping[int, float], by_chunk: Sequence[float]) -> float:
    return sum(weight * by_chunk[chunk] for chunk, weight in sample.items())


damages = st.lists(st.floats(1e-6, 10.0), min_size=2, max_size=60)


@given(damages, st.integers(1, 70))
def test_so_many_different_chunks_in_order_with_weights(pilot: list[float], count: int) -> None:
    sample = sample_chunks(pilot, count)
    assert len(sample) == min(count, len(pilot))
    assert list(sample) == sorted(sample)
    assert min(sample.values()) >= 1 / len(pilot) - 1e-12  # a certain chunk counts once
    assert sample == sample_chunks(pilot, count)


@given(damages)
def test_all_chunks_give_the_plain_mean(pilot: list[float]) -> None:
    assert estimate(sample_chunks(pilot, len(pilot)), pilot) == pytest.approx(np.mean(pilot))


def test_of_the_pilot_itself_a_few_chunks_give_nearly_the_mean_and_an_even_share_does_not() -> None:
    rng = np.random.default_rng(0)
    off, evenly = [], []
    for _ in range(50):
        pilot = rng.lognormal(0, 1.5, 48)
        off.append(estimate(sample_chunks(pilot, 8), pilot) / pilot.mean() - 1)
        evenly.append(pilot[:8].mean() / pilot.mean() - 1)
    assert np.std(off) < 0.15 < 0.4 < np.std(evenly)
    assert abs(np.mean(off)) < 0.05


def test_a_pilot_without_damage_takes_the_first_chunks() -> None:
    assert sample_chunks([0.0, 0.0, 0.0], 2) == {0: 0.5, 1: 0.5}
