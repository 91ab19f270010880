"""The best of many equals is no better than they are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.search.best import LUCK, best_trial, only_lucky
from optimizer.search.luck import expected_lead, luck
from optimizer.search.racing import PairedDifference, compare
from tests.search.test_report import trial


def test_one_candidate_needs_only_to_be_ahead() -> None:
    assert expected_lead(1) == 0.0
    assert luck(PairedDifference(-1e-9, 1.0, 48), 1) is None


@given(st.integers(2, 10_000))
def test_more_candidates_need_a_clearer_lead(candidates: int) -> None:
    at = expected_lead(candidates)
    assert at > expected_lead(candidates - 1)
    assert luck(PairedDifference(-1.01 * at, 1.0, 48), candidates) is None
    assert luck(PairedDifference(-0.99 * at, 1.0, 48), candidates) is not None


@pytest.mark.parametrize("candidates", [5, 20, 80])
def test_of_equals_few_are_crowned(candidates: int) -> None:
    """Trials that differ by noise alone: by least KLD nearly every search would crown one, by the rule few do."""
    rng = np.random.default_rng(candidates)
    chunks = range(48)
    crowned = least = 0
    for _ in range(60):
        first = dict(zip(chunks, 0.01 + 0.002 * rng.standard_normal(48), strict=True))
        leads = []
        for number in range(1, candidates):
            other = dict(zip(chunks, 0.01 + 0.002 * rng.standard_normal(48), strict=True))
            difference = compare(other, first)
            leads.append((difference.mean < 0, difference.mean < 0 and luck(difference, number + 1) is None))
        least += any(lead for lead, _ in leads)
        crowned += any(clear for _, clear in leads)
    assert least >= 45
    assert crowned < 0.6 * least


def test_a_lucky_trial_is_not_the_best() -> None:
    trials = [trial(0, 0.2, 100), trial(1, 0.1, 100, metrics={LUCK: "ahead by chance"})]
    assert only_lucky(trials[1]) == "ahead by chance"
    assert best_trial(trials, (), 100) == trials[0]
    assert best_trial(trials[1:], (), 100) == trials[1]
