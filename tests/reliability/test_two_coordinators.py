"""Two searches of one study, as processes: one writes, the other is refused, or takes over once the first is gone."""

import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from optimizer.store import Store
from optimizer.store.location import DATABASE_NAME
from tests.postgres import private_server
from tests.reliability.processes import Changes, Command, run, start
from tests.reliability.states import NAME, end_state
from tests.waiting import eventually

SHORT_LEASE = (
    ("optimizer.store.leases:Leases.acquire_lease.__defaults__", (4.0,)),
    ("optimizer.search.claiming:WAIT_SECONDS", 0.2),
)


def trials_there(place: Path | str) -> int:
    with Store.open(place) as store:
        study = store.find_study(NAME)
        return 0 if study is None else len(store.trials(study.id))


def test_on_one_host_the_second_is_refused(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    options = ["search", config, "--studies", place]
    first = start(options, place / "first.log", changes=Changes(seconds_per_score=0.05))
    try:
        eventually(lambda: trials_there(place) > 1, 300)
        freeze(first, place)
        second = run(options, place / "second.log")
        assert second.process.exitcode == 1
        assert f"Study '{NAME}' is held by process {first.process.pid}" in second.output
        assert "layerquant stop" in second.output
        first.send(signal.SIGCONT)
        assert first.wait() == 0, first.output
    finally:
        first.process.kill()
    assert end_state(place) == left_alone


@pytest.mark.long
@pytest.mark.parametrize("postgresql", [False, True])
def test_from_another_host_a_lease_that_ran_out_is_taken_over(
    config: Path, left_alone: dict[str, Any], place: Path, postgresql: bool
) -> None:
    """The first is frozen in mid-search, as by a hypervisor, and wakes when the study is another's."""
    if not postgresql:
        taken_over(config, place, None)
        assert end_state(place) == left_alone
        return
    with private_server() as server:
        url = server.new_database()
        taken_over(config, place, url)
        assert end_state(url) == left_alone


def taken_over(config: Path, place: Path, database: str | None) -> None:
    options = ["search", config, "--studies", place, *([] if database is None else ["--database", database])]
    first = start(options, place / "first.log", changes=Changes(SHORT_LEASE, "alpha", 0.05))
    second: Command | None = None
    try:
        eventually(lambda: trials_there(database or place) > 1, 300)
        freeze(first, database or place)
        second = start(options, place / "second.log", changes=Changes(SHORT_LEASE, "beta"))
        assert second.wait() == 0, second.output
        assert "on alpha" in second.output
        assert "waiting for it" in second.output
        before = end_state(database or place)
        first.send(signal.SIGCONT)
        assert first.wait() == 1, first.output
        assert "taken over" in first.output
        assert end_state(database or place) == before
    finally:
        for command in filter(None, (first, second)):
            command.process.kill()


def freeze(command: Command, place: Path | str) -> None:
    """Stops it, though not inside a transaction: SQLite's lock would then be held for as long as it sleeps."""
    while True:
        command.send(signal.SIGSTOP)
        if not is_locked(place):
            return
        command.send(signal.SIGCONT)


def is_locked(place: Path | str) -> bool:
    if not isinstance(place, Path):
        return False
    connection = sqlite3.connect(place / DATABASE_NAME, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False
