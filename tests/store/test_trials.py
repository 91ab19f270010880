"""Trials are numbered without gaps and end once, whatever happens in between."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from optimizer.errors import StorageError, StudyError
from optimizer.store import NewEvent, Store, TrialOutcome, TrialRecord
from tests.store.studies import Fixture, new_study


def test_a_trial_from_start_to_end(store: Store, study: Fixture) -> None:
    started = study.start(
        origin="baseline:IQ4_XS",
        name="IQ4_XS",
        budget_bytes=120,
        layer_types='[[0,"IQ4_XS"]]',
        predicted_kld=0.4,
        predicted_kld_standard_error=0.1,
    )
    assert (started.number, started.state, started.attempts) == (0, "running", 1)
    outcome = TrialOutcome(
        "complete",
        mean_kld=0.25,
        mean_kld_standard_error=0.01,
        perplexity=7.5,
        chunks_scored=2,
        tokens_spent=1024,
        metrics={"top1_agreement": 0.9},
    )
    ended = store.finish_trial(
        study.lease,
        started.id,
        outcome,
        evaluations=[study.evaluation()],
        events=[NewEvent("trial.finished", {"x": 1}, started.id)],
    )
    assert ended == store.trial(study.study_id, 0) == store.trial_by_id(started.id)
    assert (ended.mean_kld, ended.perplexity, ended.metrics) == (0.25, 7.5, {"top1_agreement": 0.9})
    assert ended.params == {"blk.0": "Q4_K"}
    assert ended.duration_seconds == pytest.approx((ended.finished_at or 0) - ended.started_at)
    assert len(store.find_evaluations(study.recipe_id, study.text_id, study.settings_key)) == 1
    (event,) = store.pending_events()
    assert (event.kind, event.trial_id, event.payload) == ("trial.finished", ended.id, {"x": 1})


def test_a_second_end_changes_nothing(store: Store, study: Fixture) -> None:
    trial = study.finish(study.start())
    with pytest.raises(StudyError, match="ended before"):
        study.finish(trial, 0.1, evaluations=[study.evaluation()])
    assert store.trial(study.study_id, 0).mean_kld == 0.5
    assert store.find_evaluations(study.recipe_id, study.text_id, study.settings_key) == []
    assert store.count_pending_events() == 1


def test_an_end_that_fails_half_way_leaves_the_trial_running(store: Store, study: Fixture) -> None:
    trial = study.start()
    with pytest.raises(StorageError, match=r"(?i)foreign key"):
        study.finish(trial, evaluations=[study.evaluation(), study.evaluation(recipe_id=99)])
    assert store.trial(study.study_id, 0).state == "running"
    assert store.count_pending_events() == 0


def test_another_studys_trial_is_not_ended(store: Store, study: Fixture) -> None:
    other = new_study(store, "other")
    with pytest.raises(StudyError, match="no running trial"):
        other.finish(study.start())


@pytest.mark.parametrize("kld", [None, float("nan"), float("inf")])
def test_complete_means_a_finite_kld(study: Fixture, kld: float | None) -> None:
    with pytest.raises(ValueError, match="finite"):
        study.finish(study.start(), kld)  # type: ignore[arg-type]


def test_only_complete_and_pruned_count(store: Store, study: Fixture) -> None:
    study.finish(study.start())
    for state in ("pruned", "failed"):
        store.finish_trial(study.lease, study.start().id, TrialOutcome(state))  # type: ignore[arg-type]
    study.start()
    assert store.count_trials(study.study_id) == 2
    assert store.count_trials(study.study_id, ["failed"]) == 1
    assert [each.number for each in store.trials(study.study_id, ["pruned", "running"])] == [1, 3]
    assert [each.number for each in store.trials(study.study_id, first=2)] == [2, 3]
    assert store.count_settled_trials(study.study_id) == 3


def test_no_such_trial(store: Store, study: Fixture) -> None:
    with pytest.raises(StudyError, match="no trial 3"):
        store.trial(study.study_id, 3)


class Runs(RuleBasedStateMachine):
    """Runs that start and end trials, several at a time, and are killed in between."""

    store: Store
    names = 0
    running = Bundle("running")
    ended_trials = Bundle("ended_trials")

    def __init__(self) -> None:
        super().__init__()
        Runs.names += 1
        self.study = new_study(self.store, f"study {Runs.names}")
        self.ended: dict[int, tuple[str, float]] = {}
        self.started: dict[int, int] = {}

    @rule(target=running)
    def start(self) -> TrialRecord:
        trial = self.study.start()
        self.started[trial.number] = 1
        return trial

    @rule(target=ended_trials, trial=consumes(running), kld=st.floats(0, 10))
    def finish(self, trial: TrialRecord, kld: float) -> TrialRecord:
        self.study.finish(trial, kld)
        self.ended[trial.number] = ("complete", kld)
        return trial

    @rule(trial=ended_trials)
    def finish_again(self, trial: TrialRecord) -> None:
        with pytest.raises(StudyError):
            self.study.finish(trial, 99.0)

    @rule(trial=running)
    def be_killed_before_the_end(self, trial: TrialRecord) -> None:
        """All running trials come back by number, and the dead run's own late result is refused."""
        dead = self.study.lease
        self.store.release_lease(dead)
        self.study.lease = self.store.acquire_lease(self.study.study_id, 60)
        back = self.store.reconcile(self.study.lease)
        assert [each.trial.number for each in back] == sorted(set(self.started) - set(self.ended))
        for each in back:
            self.started[each.trial.number] += 1
            assert each.trial.attempts == self.started[each.trial.number]
            assert each.recipe.key == "k1"
        with pytest.raises(StudyError):
            self.store.finish_trial(dead, trial.id, TrialOutcome("complete", mean_kld=1.0))
        assert self.store.reconcile(self.study.lease) == []

    @invariant()
    def nothing_counts_twice(self) -> None:
        trials = self.store.trials(self.study.study_id)
        assert [trial.number for trial in trials] == list(range(len(self.started)))
        assert {each.number: (each.state, each.mean_kld) for each in trials if each.state != "running"} == self.ended
        assert len(self.store.pending_events(study_id=self.study.study_id, limit=1000)) == len(self.ended)


def test_runs(store: Store) -> None:
    Runs.store = store
    run_state_machine_as_test(Runs, settings=settings(max_examples=10, stateful_step_count=15, deadline=None))
