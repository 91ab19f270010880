"""Who may write to a study: a dead process on this host never blocks, a living one never shares."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import StorageError, StudyError
from optimizer.store import Holder, Lease, LeaseKeeper, Store, StudyHeld, TrialOutcome
from optimizer.store.holder import current_holder
from tests.store.studies import Fixture, new_study

HERE = current_holder()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fixture]:
    with Store.open(tmp_path_factory.mktemp("leases")) as store:
        yield new_study(store)


@pytest.fixture(scope="module")
def living() -> Iterator[Holder]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield _holder_of(process.pid)
        process.kill()


@pytest.fixture(scope="module")
def dead() -> Holder:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        holder = _holder_of(process.pid)
        process.kill()
    return holder


@settings(max_examples=60, deadline=None)
@given(
    on_this_host=st.booleans(),
    since_this_boot=st.booleans(),
    alive=st.booleans(),
    same_start=st.booleans(),
    expired=st.booleans(),
)
def test_the_rule(
    shared: Fixture,
    living: Holder,
    dead: Holder,
    on_this_host: bool,
    since_this_boot: bool,
    alive: bool,
    same_start: bool,
    expired: bool,
) -> None:
    """Held exactly while the lease runs and the holder is not known to be gone."""
    process = living if alive else dead
    first = Holder(
        host=HERE.host if on_this_host else "elsewhere",
        pid=process.pid,
        started_at=process.started_at - (0.0 if same_start else 1000.0),
        boot_id=HERE.boot_id if since_this_boot else "an earlier boot",
    )
    store = shared.store
    _free(shared)
    store.acquire_lease(shared.study_id, -1.0 if expired else 60.0, holder=first)
    known_to_be_gone = on_this_host and not (since_this_boot and alive and same_start)
    if expired or known_to_be_gone:
        lease = store.acquire_lease(shared.study_id, 60)
        assert store.status(shared.study_id).holder == str(HERE)
        store.renew_lease(lease)
    else:
        with pytest.raises(StudyHeld) as raised:
            store.acquire_lease(shared.study_id, 60)
        assert raised.value.holder == first
        assert 0 < raised.value.seconds_left <= 60
        assert str(first.pid) in str(raised.value)
        assert first.host in str(raised.value)


def test_a_second_search_is_refused(store: Store, study: Fixture) -> None:
    with pytest.raises(StudyHeld, match=r"Study 'night' is held by process \d+ on .*layerquant stop night"):
        store.acquire_lease(study.study_id, 60)
    store.release_lease(study.lease)
    store.acquire_lease(study.study_id, 60)


def test_a_zombie_is_gone(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    store.acquire_lease(study.study_id, 60, holder=_holder_of(process.pid))
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    store.acquire_lease(study.study_id, 60)
    process.communicate()


def test_every_write_of_a_lost_lease_is_refused(store: Store, study: Fixture) -> None:
    trial = study.start()
    store.release_lease(study.lease)
    store.acquire_lease(study.study_id, 60)
    writes = [
        lambda: store.renew_lease(study.lease),
        lambda: study.start(),
        lambda: study.finish(trial),
        lambda: store.reconcile(study.lease),
        lambda: store.update_study(study.lease, state="finished"),
        lambda: store.add_evaluations([study.evaluation()], study.lease),
    ]
    for write in writes:
        with pytest.raises(StudyError, match=r"taken over by process \d+"):
            write()
    assert store.study(study.study_id).state == "created"
    assert [each.state for each in store.trials(study.study_id)] == ["running"]
    assert store.count_pending_events() == 0


def test_releasing_a_lost_lease_takes_nothing_away(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    lease = store.acquire_lease(study.study_id, 60)
    store.release_lease(study.lease)
    store.renew_lease(lease)


def test_a_sleeper_goes_on_when_nobody_took_the_study(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    lease = store.acquire_lease(study.study_id, -1.0)
    trial = store.start_trial(lease, origin="swap", recipe_id=study.recipe_id, size_bytes=1, params={})
    store.finish_trial(lease, trial.id, TrialOutcome("failed", error="asleep"))
    assert store.renew_lease(lease).token == lease.token


def test_a_stop_is_asked_for_and_forgotten_by_the_next_run(store: Store, study: Fixture) -> None:
    assert not store.stop_requested(study.study_id)
    store.request_stop(study.study_id)
    store.request_stop(study.study_id)
    assert store.stop_requested(study.study_id)
    assert store.status(study.study_id).stop_requested
    store.release_lease(study.lease)
    store.acquire_lease(study.study_id, 60)
    assert not store.stop_requested(study.study_id)


def test_no_such_study(store: Store) -> None:
    with pytest.raises(StudyError, match="no study 5"):
        store.acquire_lease(5, 60)


def test_the_keeper_renews_and_releases(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    lease = store.acquire_lease(study.study_id, 1.5)
    with LeaseKeeper(store, lease) as keeper:
        time.sleep(2.5)
        assert not keeper.lost.is_set()
        with pytest.raises(StudyHeld):
            store.acquire_lease(study.study_id, 60)
    store.acquire_lease(study.study_id, 60)


def test_the_keeper_says_when_the_study_is_lost(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    with LeaseKeeper(store, store.acquire_lease(study.study_id, 0.3)) as keeper:
        with store.writing() as session:
            session.connection().exec_driver_sql("UPDATE studies SET lease_token = 'of another'")
        assert keeper.lost.wait(5)


def test_the_keeper_outlives_a_busy_database(study: Fixture) -> None:
    class Busy:
        renewals = 0

        def renew_lease(self, lease: Lease) -> Lease:
            self.renewals += 1
            raise StorageError("locked")

        def release_lease(self, lease: Lease) -> None:
            pass

    busy = Busy()
    with LeaseKeeper(busy, Lease(1, "token", 0.03, 0.0)) as keeper:  # type: ignore[arg-type]
        while busy.renewals < 3:
            time.sleep(0.01)
        assert not keeper.lost.is_set()


def test_a_claim_is_one_processes_at_a_time(store: Store, dead: Holder) -> None:
    token = store.claim("mlflow", 60)
    assert token is not None
    assert store.claim("mlflow", 60) is None
    assert store.claim("mlflow", 60, token=token) == token
    assert store.claim("another job", 60) is not None
    store.release_claim("mlflow", "not the token")
    assert store.claim("mlflow", 60) is None
    store.release_claim("mlflow", token)
    assert store.claim("mlflow", 60, holder=dead) is not None
    assert store.claim("mlflow", -1) is not None  # the holder is gone
    assert store.claim("mlflow", 60) is not None  # the claim ran out


def _free(study: Fixture) -> None:
    with study.store.writing() as session:
        session.connection().exec_driver_sql("UPDATE studies SET lease_token = NULL, lease_host = NULL")


def _holder_of(pid: int) -> Holder:
    started = psutil.Process(pid).create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)
    return Holder(HERE.host, pid, started, HERE.boot_id)


def test_this_process_is_not_gone(tmp_path: Path) -> None:
    assert not HERE.is_gone(HERE)
