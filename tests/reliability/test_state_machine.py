"""Claim, renew, expire, complete, cancel, in any order and by several hosts: one writes, and nothing counts twice."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from optimizer.errors import StudyError
from optimizer.store import Holder, Lease, NewEvent, Store, StudyHeld, TrialOutcome
from optimizer.store.holder import current_holder
from optimizer.store.schema import Evaluation
from tests.postgres import private_server
from tests.store.studies import Fixture, new_study

HERE = current_holder()
HOSTS = ("alpha", "beta", "gamma")
TOKENS = 1024
TTL_SECONDS = 10_000.0


@dataclass
class Host:
    """A machine: what runs on it, and every lease that it was ever given."""

    holder: Holder
    leases: list[Lease]


hosts, chunks = st.sampled_from(HOSTS), st.integers(0, 7)
outcomes = st.sampled_from(["complete", "pruned", "failed"])


class Coordinators(RuleBasedStateMachine):
    """`owner`: the lease that may write. `expired`: whether its time is over, though nobody has taken its place."""

    store: Store
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.study: Fixture = new_study(self.store, f"study {next(self.numbers)}")
        self.store.release_lease(self.study.lease)
        # Each study scores a recipe of its own: evaluations are shared by all studies of a database.
        key = f"recipe of {self.study.study_id}"
        model = self.store.study(self.study.study_id).model_id
        self.study.recipe_id = self.store.add_recipe(model, key, {"t": "Q4_K"}, plain_bytes=100).id
        boot = "first boot"
        self.hosts = {name: Host(replace(HERE, host=name, boot_id=boot), []) for name in HOSTS}
        self.owner: Lease | None = None
        self.owner_holder: Holder | None = None
        self.expired = False
        self.trials: list[str] = []
        self.ids: list[int] = []
        self.last_token: list[str] = []
        self.scored: set[int] = set()
        self.stopped = False

    @rule(name=hosts)
    def claim(self, name: str) -> None:
        """Held exactly while the lease runs and its holder is not known to be gone on the host that asks."""
        holder = self.hosts[name].holder
        before = self.owner_holder if self.owner is not None and not self.expired else None
        gone = before is not None and before.host == name and before.boot_id != holder.boot_id
        if before is not None and not gone:
            with pytest.raises(StudyHeld):
                self.store.acquire_lease(self.study.study_id, TTL_SECONDS, holder=holder)
            return
        self.owner = self.store.acquire_lease(self.study.study_id, TTL_SECONDS, holder=holder)
        self.owner_holder, self.expired, self.stopped = holder, False, False
        self.hosts[name].leases.append(self.owner)

    @rule(name=hosts)
    def reboot(self, name: str) -> None:
        """All processes of a host end; only that host can know."""
        host = self.hosts[name]
        host.holder = replace(host.holder, boot_id=f"boot after {host.holder.boot_id}")

    @precondition(lambda self: self.owner is not None)
    @rule()
    def expire(self) -> None:
        """Time passes without a renewal."""
        with self.store.writing() as session:
            past = f"UPDATE studies SET lease_expires_at = lease_expires_at - 20000 WHERE id = {self.study.study_id}"
            session.connection().exec_driver_sql(past)
        self.expired = True

    @rule(name=hosts, which=st.integers(0, 3))
    def renew(self, name: str, which: int) -> None:
        lease = self._lease(name, which)
        if lease is None:
            return
        if self._may_write(lease):
            self.store.renew_lease(lease)
            self.expired = False
        else:
            self._refused(lambda: self.store.renew_lease(lease))

    @rule(name=hosts, which=st.integers(0, 3))
    def release(self, name: str, which: int) -> None:
        """A late release takes nothing away from the next holder."""
        lease = self._lease(name, which)
        if lease is None:
            return
        self.store.release_lease(lease)
        if self._may_write(lease):
            self.owner = self.owner_holder = None

    @rule(name=hosts, which=st.integers(0, 3))
    def start(self, name: str, which: int) -> None:
        lease = self._lease(name, which)
        if lease is None:
            return
        self.study.lease = lease
        if not self._may_write(lease):
            self._refused(self.study.start)
            return
        trial = self.study.start()
        assert trial.number == len(self.trials)
        self.trials.append("running")
        self.ids.append(trial.id)
        self.last_token.append(lease.token)

    @rule(name=hosts, which=st.integers(0, 3), chunk=chunks)
    def score(self, name: str, which: int, chunk: int) -> None:
        """A result kept on its own; the same one twice is one."""
        lease = self._lease(name, which)
        if lease is None:
            return
        result = [self.study.evaluation(chunk, n_chunks=1, tokens=TOKENS)]
        if self._may_write(lease):
            self.store.add_evaluations(result, lease)
            self.scored.add(chunk)
        else:
            self._refused(lambda: self.store.add_evaluations(result, lease))

    @rule(name=hosts, which=st.integers(0, 3), number=st.integers(0, 5), outcome=outcomes, chunk=chunks)
    def finish(self, name: str, which: int, number: int, outcome: Any, chunk: int) -> None:
        """The end, its last score and its event: all, or nothing."""
        lease = self._lease(name, which)
        if lease is None or number >= len(self.trials):
            return

        def end() -> None:
            self.store.finish_trial(
                lease,
                self.ids[number],
                TrialOutcome(outcome, mean_kld=None if outcome == "failed" else 0.5),
                evaluations=[self.study.evaluation(chunk, n_chunks=1, tokens=TOKENS)],
                events=[NewEvent("trial.finished", trial_id=self.ids[number])],
            )

        if self._may_write(lease) and self.trials[number] == "running":
            end()
            self.trials[number] = outcome
            self.scored.add(chunk)
        else:
            self._refused(end)

    @rule(name=hosts, which=st.integers(0, 3))
    def reconcile(self, name: str, which: int) -> None:
        """The holder gets what others left running, by number, and once."""
        lease = self._lease(name, which)
        if lease is None:
            return
        if not self._may_write(lease):
            self._refused(lambda: self.store.reconcile(lease))
            return
        left = [
            number
            for number, state in enumerate(self.trials)
            if state == "running" and self.last_token[number] != lease.token
        ]
        assert [each.trial.number for each in self.store.reconcile(lease)] == left
        for number in left:
            self.last_token[number] = lease.token

    @rule()
    def cancel(self) -> None:
        self.store.request_stop(self.study.study_id)
        self.stopped = True

    @invariant()
    def what_the_database_holds_is_what_was_done(self) -> None:
        study = self.store.study(self.study.study_id)
        trials = self.store.trials(self.study.study_id)
        assert [(trial.number, trial.state) for trial in trials] == list(enumerate(self.trials))
        assert study.tokens_evaluated == TOKENS * len(self.scored)
        with self.store.reading() as session:
            rows = session.query(Evaluation).filter_by(recipe_id=self.study.recipe_id).all()
            assert sorted(row.first_chunk for row in rows) == sorted(self.scored)
        events = self.store.pending_events(study_id=self.study.study_id, limit=1000)
        ended = {self.ids[number] for number, state in enumerate(self.trials) if state != "running"}
        assert sorted(event.trial_id or 0 for event in events) == sorted(ended)
        assert self.store.stop_requested(self.study.study_id) == self.stopped

    def _lease(self, name: str, which: int) -> Lease | None:
        """One of the host's last few: the living, or those of the dead."""
        leases = self.hosts[name].leases
        return leases[-1 - which] if which < len(leases) else None

    def _may_write(self, lease: Lease) -> bool:
        return self.owner is not None and lease.token == self.owner.token

    def _refused(self, write: Any) -> None:
        with pytest.raises(StudyError):
            write()


def run_with(store: Store, examples: int) -> None:
    Coordinators.store = store
    run_state_machine_as_test(
        Coordinators, settings=settings(max_examples=examples, stateful_step_count=25, deadline=None)
    )


@pytest.fixture
def sqlite(place: Path) -> Iterator[Store]:
    with Store.open(place) as store:
        yield store


def test_any_order(sqlite: Store) -> None:
    run_with(sqlite, 10)


@pytest.mark.long
def test_any_order_for_longer(sqlite: Store) -> None:
    run_with(sqlite, 40)


@pytest.mark.long
def test_any_order_on_postgresql() -> None:
    with private_server() as server, Store.open(server.new_database()) as store:
        run_with(store, 20)
