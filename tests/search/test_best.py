"""Which trial is called the best: never one that the gate kept out, nor a rival, while there is another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.search.best import best_of_study, best_trial, reported_best
from optimizer.store import NewEvent, Store, TrialOutcome
from tests.search.test_report import trial
from tests.store.studies import Fixture, new_study


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Fixture]:
    """Trials 0 (0.5), 1 (0.1, kept out), 2 (0.2, a rival), 3 (0.4)."""
    with Store.open(tmp_path / "studies") as store:
        made = new_study(store)
        store.update_study(made.lease, progress={"rivals_only": ["Q6_K"]})
        made.finish(made.start(), 0.5)
        outcome = TrialOutcome("complete", mean_kld=0.1, metrics={"kept_out": "solves 0 of 4"})
        store.finish_trial(made.lease, made.start().id, outcome)
        made.finish(made.start(name="Q6_K"), 0.2)
        made.finish(made.start(), 0.4)
        yield made


def test_equal_trials_the_smaller_then_the_earlier_pruned_ones_never() -> None:
    trials = [trial(0, 0.5, 100), trial(1, 0.5, 90), trial(2, 0.5, 90), trial(3, 0.01, 80, state="pruned")]
    assert best_trial(trials, (), 100) == trials[1]


def test_a_study_s_best_is_neither_kept_out_nor_a_rival(study: Fixture) -> None:
    record, trials = study.store.study(study.study_id), study.store.trials(study.study_id)
    assert best_of_study(record, trials) == trials[3]
    assert reported_best(study.store, record) == trials[3]
    assert best_of_study(record, trials[1:3]) == trials[1]


@pytest.mark.parametrize(
    ("report", "number"),
    [
        ({"best": {"trial": 0}}, 0),
        ({"best": {"trial": 3}, "fronts": [{"best": {"trial": 3}}, {"best": {"trial": 0}}]}, 0),
        ({"noise_floor_kld": 1e-6}, 3),
    ],
)
def test_a_report_s_word_is_the_last(study: Fixture, report: dict[str, object], number: int) -> None:
    study.store.update_study(study.lease, state="finished", report=report, events=[NewEvent("study.finished")])
    best = reported_best(study.store, study.store.study(study.study_id))
    assert best is not None
    assert best.number == number
