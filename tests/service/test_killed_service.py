"""The service killed at each step of starting and ending a job: its successor neither loses nor doubles one.

A kill is an exception that nothing catches, raised where the process would die; what it held, it lets go.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from optimizer.errors import StorageError
from optimizer.service import job_processes, jobs, processes
from optimizer.service.jobs import JobFile
from tests.service.test_supervisor import Stage
from tests.store.studies import new_study
from tests.waiting import eventually

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


class Killed(BaseException): ...


def before(place: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> Any:
    """(place, name, what to put there): dies instead of the call."""
    genuine = getattr(place, name)

    def call(*arguments: Any, **options: Any) -> Any:
        if when(*arguments, **options):
            raise Killed
        return genuine(*arguments, **options)

    return place, name, call


def behind(place: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> Any:
    """Dies when the call is done."""
    genuine = getattr(place, name)

    def call(*arguments: Any, **options: Any) -> Any:
        found = genuine(*arguments, **options)
        if when(*arguments, **options):
            raise Killed
        return found

    return place, name, call


def to(state: str) -> Callable[..., bool]:
    return lambda *_, **changes: changes.get("state") == state


def renaming(beside: Any, path: Any) -> bool:
    """Leaves the half-written file behind, as a kill would."""
    with open(f"{path.parent}/.{path.name}.left", "w") as file:
        file.write("[{")
    return path.name == "jobs.json"


STARTING = {
    "before the lock is taken": lambda: before(job_processes.processes, "start"),
    "before the process is there": lambda: before(processes.subprocess, "Popen"),
    "behind the process's start": lambda: behind(job_processes.processes, "start"),
    "before it is written down": lambda: before(JobFile, "change", to("running")),
    "while it is written down": lambda: before(os, "replace", renaming),
    "when it is written down": lambda: behind(JobFile, "change", to("running")),
}
ENDING = {
    "before the end is written down": lambda: before(JobFile, "change", to("ended")),
    "before the lock is removed": lambda: behind(JobFile, "change", to("ended")),
}


@pytest.fixture
def stage(tmp_path: Any) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.end_all()
    made.wait()
    made.store.close()


@pytest.mark.parametrize("point", STARTING)
def test_while_a_search_starts(stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    first = stage.serve()
    first.submit("search", "one", [str(stage.script("one"))], "tests")
    first.submit("search", "two", [str(stage.script("two"))], "tests")
    with monkeypatch.context() as patched:
        patched.setattr(*STARTING[point]())
        with pytest.raises(Killed):
            first.tick()
    again = stage.serve()
    eventually(lambda: stage.state("one") == "running" and stage.began("one") == 1)
    assert stage.state("two") == "queued"
    assert again.stop("two")
    (stage.script("one") / "end").touch()
    eventually(lambda: stage.state("one") == "ended")
    assert (stage.began("one"), stage.began("two")) == (1, 0)
    assert not list((stage.workplace.studies / "service" / "running").iterdir())


@pytest.mark.parametrize("point", ENDING)
def test_while_a_search_ends(stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    first = stage.serve()
    stage.submit("one")
    stage.submit("two")
    (stage.script("one") / "end").touch()
    (child,) = first._processes.children.values()
    child.wait(10)
    with monkeypatch.context() as patched:
        patched.setattr(*ENDING[point]())
        with pytest.raises(Killed):
            first.tick()
    stage.serve()
    assert stage.state("one") == "ended"
    eventually(lambda: stage.state("two") == "running" and stage.began("two") == 1)
    assert stage.began("one") == 1


def test_a_stop_is_repeated_until_the_search_hears_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search whose process id was never written down, asked to stop before it took up its study."""
    first = stage.serve()
    first.submit("search", "night", [str(stage.script("night"))], "tests")
    with monkeypatch.context() as patched:
        patched.setattr(*before(JobFile, "change", to("running")))
        with pytest.raises(Killed):
            first.tick()
    again = stage.serve()
    assert again.stop("night")
    study = new_study(stage.store)  # takes its lease, which forgets requests to stop
    assert not stage.store.stop_requested(study.study_id)
    again.tick()
    assert stage.store.stop_requested(study.study_id)
    stage.store.release_lease(study.lease)


def test_what_could_not_be_kept_is_not_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = stage.serve()

    def full(*_: object) -> None:
        raise StorageError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(jobs, "write_text", full)
        with pytest.raises(StorageError):
            supervisor.submit("search", "one", [str(stage.script("one"))], "tests")
    supervisor.tick()
    assert supervisor.jobs() == []
    assert stage.began("one") == 0


def test_a_job_whose_program_is_missing_has_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = stage.serve()
    rules = supervisor._rules
    monkeypatch.setattr(supervisor._processes, "_rules", type(rules)(program=("/absent/program",)))
    stage.submit("one")
    job = supervisor.job_of("one")
    assert job is not None
    assert (job.state, "cannot be started" in (job.error or "")) == ("ended", True)
