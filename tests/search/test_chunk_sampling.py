"""Chunks drawn by a pilot's damage: so many, none twice, and a mean that is right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.chunk_sampling import first_chunks, sample_chunks

damages = st.lists(st.floats(1e-6, 10.0), min_size=2, max_size=60)


@given(damages, st.integers(1, 70))
def test_so_many_different_chunks_in_order_with_weights(pilot: list[float], count: int) -> None:
    sample = sample_chunks(pilot, count)
    assert len(set(sample.chunks)) == len(sample.chunks) == min(count, len(pilot))
    assert list(sample.chunks) == sorted(sample.chunks)
    assert min(sample.weights) >= 1 / len(pilot) - 1e-12  # a certain chunk counts once
    assert sample == sample_chunks(pilot, count)


@given(damages)
def test_all_chunks_give_the_plain_mean(pilot: list[float]) -> None:
    mean, _ = sample_chunks(pilot, len(pilot)).mean(dict(enumerate(pilot)))
    assert mean == pytest.approx(np.mean(pilot))


def test_of_the_pilot_itself_a_few_chunks_give_nearly_the_mean_and_an_even_share_does_not() -> None:
    rng = np.random.default_rng(0)
    off, evenly = [], []
    for _ in range(50):
        pilot = rng.lognormal(0, 1.5, 48)
        by_chunk = dict(enumerate(pilot))
        off.append(sample_chunks(list(pilot), 8).mean(by_chunk)[0] / pilot.mean() - 1)
        evenly.append(first_chunks(8).mean(by_chunk)[0] / pilot.mean() - 1)
    assert np.std(off) < 0.15 < 0.4 < np.std(evenly)
    assert abs(np.mean(off)) < 0.05


def test_a_pilot_without_damage_takes_the_first_chunks() -> None:
    assert sample_chunks([0.0, 0.0, 0.0], 2) == first_chunks(2)
