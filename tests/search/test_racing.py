"""Who sees more of the text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.racing import PairedDifference, compare, full_text_estimate, rungs


@given(chunks=st.integers(1, 600), share=st.floats(0.01, 1.0), batch=st.integers(1, 16))
def test_stages_grow_to_the_full_text_in_whole_batches(chunks: int, share: float, batch: int) -> None:
    stages = rungs(chunks, share, batch)
    assert stages[-1] == chunks
    assert list(stages) == sorted(set(stages))
    assert all(stage % batch == 0 for stage in stages[:-1])
    assert all(later == 2 * earlier for earlier, later in pairwise(stages[:-1]))


def test_a_candidate_is_out_where_its_differences_say_so() -> None:
    incumbent = dict.fromkeys(range(4), 1.0)
    worse = {chunk: 1.5 + 0.01 * chunk for chunk in range(4)}
    unclear = {0: 1.9, 1: 0.2, 2: 1.8, 3: 0.3}
    assert compare(worse, incumbent).is_behind
    assert not compare(unclear, incumbent).is_behind
    assert not compare(incumbent, worse).is_behind
    assert not compare({0: 9.0}, incumbent).is_behind  # one chunk proves nothing


def test_part_of_the_text_is_scaled_by_what_the_incumbent_shows_there() -> None:
    incumbent = {0: 1.0, 1: 3.0}
    assert full_text_estimate({0: 2.0}, incumbent) == 4.0
    assert full_text_estimate(incumbent, incumbent) == 2.0


def test_chunks_of_two_texts_count_alike() -> None:
    both = compare({0: 1.0, 1: 3.0}, {0: 0.0, 1: 0.0}).with_more(compare({2: 4.0, 3: 6.0}, {2: 0.0, 3: 0.0}))
    assert (both.mean, both.chunks) == (3.5, 4)
    assert both.standard_error == pytest.approx(2**0.5 / 2)
    unequal = PairedDifference(1.0, 0.3, 30).with_more(PairedDifference(-1.0, 0.4, 10))
    assert (unequal.mean, unequal.chunks) == (pytest.approx(0.5), 40)
    assert unequal.standard_error == pytest.approx((9**2 + 4**2) ** 0.5 / 40)
