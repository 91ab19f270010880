"""The clock of the database's host set back or forward in mid-search: waits may be longer, nothing is written twice."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from optimizer.errors import StudyError
from optimizer.store import LeaseKeeper, Store, StudyHeld, TrialOutcome, engines
from optimizer.store.holder import current_holder
from tests.reliability.processes import Changes, run
from tests.reliability.states import end_state
from tests.store.studies import Fixture, new_study

HOUR = 3600.0
UNIX_EPOCH_AS_JULIAN_DAY = 2440587.5
ELSEWHERE = replace(current_holder(), host="elsewhere")


class Clock:
    """Seconds that the clock of the database is off."""

    def __init__(self) -> None:
        self.off = 0.0

    def julian_day(self, *_: object) -> float:
        return UNIX_EPOCH_AS_JULIAN_DAY + (time.time() + self.off) / 86400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def study(place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fixture]:
    """In a store whose clock the test sets: SQLite's own function of the time is replaced."""
    prepare: Callable[..., None] = engines._prepare_sqlite

    def prepared(connection: sqlite3.Connection, record: object) -> None:
        prepare(connection, record)
        connection.create_function("julianday", -1, clock.julian_day)

    monkeypatch.setattr(engines, "_prepare_sqlite", prepared)
    with Store.open(place) as store:
        made = new_study(store)
        assert abs(store.study(made.study_id).created_at - time.time()) < 60
        yield made


def test_set_back_the_living_keep_the_study_and_the_dead_hold_up_nobody(study: Fixture, clock: Clock) -> None:
    store = study.store
    clock.off = -HOUR
    with pytest.raises(StudyHeld):
        store.acquire_lease(study.study_id)
    study.lease = store.renew_lease(study.lease)
    study.finish(study.start())
    gone = replace(current_holder(), boot_id="an earlier boot")
    store.release_lease(study.lease)
    store.acquire_lease(study.study_id, holder=gone)
    clock.off = -2 * HOUR  # the lease of the dead now seems to run for an hour
    store.acquire_lease(study.study_id)


def test_set_back_a_host_that_is_gone_is_waited_for_longer_and_not_for_ever(study: Fixture, clock: Clock) -> None:
    store = study.store
    store.release_lease(study.lease)
    store.acquire_lease(study.study_id, 120, holder=ELSEWHERE)
    clock.off = -HOUR
    with pytest.raises(StudyHeld) as held:
        store.acquire_lease(study.study_id, 120)
    assert held.value.seconds_left <= HOUR + 121
    clock.off = 121
    store.acquire_lease(study.study_id, 120)


def test_set_forward_a_living_holder_may_lose_the_study_and_then_writes_nothing(study: Fixture, clock: Clock) -> None:
    store, trial = study.store, study.start()
    clock.off = HOUR
    lease = store.acquire_lease(study.study_id, holder=ELSEWHERE)
    with pytest.raises(StudyError, match="taken over"):
        study.finish(trial)
    assert [each.trial.number for each in store.reconcile(lease)] == [trial.number]
    store.finish_trial(lease, trial.id, TrialOutcome("complete", mean_kld=0.5))


def test_set_forward_the_keeper_renews_by_a_clock_that_only_runs(study: Fixture, clock: Clock) -> None:
    store = study.store
    store.release_lease(study.lease)
    lease = store.acquire_lease(study.study_id, 0.6)
    with LeaseKeeper(store, lease) as keeper:
        clock.off = HOUR
        deadline = time.monotonic() + 60
        while _expires(study) < time.time() + HOUR - 60:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert not keeper.lost.is_set()


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_a_trial_over_a_jump_takes_no_negative_time(study: Fixture, clock: Clock, jump: float) -> None:
    study.store.update_study(study.lease, target_trials=5, state="running")
    trial = study.start()
    clock.off = jump
    ended = study.finish(trial)
    assert (ended.duration_seconds or 0.0) >= 0.0
    eta = study.store.status(study.study_id).eta_seconds
    assert eta is not None
    assert eta >= 0.0


def jumping(began: float) -> float:
    """The time of the day, a day ahead from two seconds after `began` on."""
    now = time.clock_gettime(time.CLOCK_REALTIME)
    return now + (86400.0 if time.monotonic() > began + 2.0 else 0.0)


def test_hours_are_counted_by_a_clock_that_only_runs(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    """With an hour to go and the wall clock a day ahead in mid-search, no trial is left out."""
    changes = Changes((("time:time", partial(jumping, time.monotonic())),))
    command = run(["search", config, "--hours", "1", "--studies", place], place / "log", changes=changes)
    assert command.process.exitcode == 0, command.output
    assert end_state(place)["trials"] == left_alone["trials"]


def _expires(study: Fixture) -> float:
    with study.store.reading() as session:
        found = session.connection().exec_driver_sql("SELECT lease_expires_at FROM studies").scalar_one()
    return float(found)
