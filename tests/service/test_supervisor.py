"""Jobs as processes: queued, found again, never doubled, stopped as by Ctrl-C. The search is a small script here."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.errors import StudyError
from optimizer.service import processes
from optimizer.service.job_processes import Rules
from optimizer.service.jobs import Job
from optimizer.service.supervisor import Supervisor
from optimizer.workplace import Workplace
from tests.waiting import eventually

FAKE = """
import pathlib, signal, sys, time
stops = []
signal.signal(signal.SIGINT, lambda *_: stops.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
folder = pathlib.Path(sys.argv[1])
if not (folder / "early").exists():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
with (folder / "began").open("a") as file:
    file.write("x")
while not (folder / "end").exists():
    if stops and not (folder / "stubborn").exists():
        sys.exit(130)
    time.sleep(0.02)
if (folder / "fail").exists():
    print("error: no memory", file=sys.stderr)
    sys.exit(1)
"""


class Stage:
    """A workplace, a script in place of layerquant, and as many services one after the other as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workplace = Workplace(folder / "studies")
        self.store = self.workplace.open_store()
        self.supervisor: Supervisor | None = None
        self.children: list[subprocess.Popen[bytes]] = []

    def serve(self, **rules: float) -> Supervisor:
        """A new service, as after a crash of the one before, whose watching ends without a word to its processes."""
        if self.supervisor is not None:
            processes.release(self.supervisor._owned)
            self.children += self.supervisor._processes.children.values()
        program = (sys.executable, "-c", FAKE)
        self.supervisor = Supervisor(self.workplace, self.store, Rules(program=program, **rules))  # type: ignore[arg-type]
        self.supervisor.tick()
        return self.supervisor

    def script(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    def submit(self, name: str) -> Job:
        assert self.supervisor is not None
        made = self.supervisor.submit("search", name, [str(self.script(name))], "tests")
        self.supervisor.tick()
        return made

    def state(self, name: str) -> str:
        assert self.supervisor is not None
        self.supervisor.tick()
        job = self.supervisor.job_of(name)
        assert job is not None
        return job.state

    def began(self, name: str) -> int:
        path = self.script(name) / "began"
        return len(path.read_text()) if path.exists() else 0

    def end_all(self) -> None:
        for folder in self.folder.iterdir():
            if folder.is_dir():
                (folder / "end").touch()

    def wait(self) -> None:
        """For every process of every service."""
        if self.supervisor is not None:
            self.children += self.supervisor._processes.children.values()
        for child in self.children:
            child.wait(10)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.end_all()
    made.wait()
    made.store.close()


def test_one_runs_and_the_rest_queue(stage: Stage) -> None:
    stage.serve()
    for name in ("one", "two"):
        stage.submit(name)
    eventually(lambda: stage.began("one") == 1)
    assert (stage.state("one"), stage.state("two")) == ("running", "queued")
    assert stage.began("two") == 0
    (stage.script("one") / "end").touch()
    eventually(lambda: stage.state("one") == "ended" and stage.began("two") == 1)


def test_two_places(stage: Stage) -> None:
    stage.serve(running=2)
    for name in ("one", "two", "three"):
        stage.submit(name)
    eventually(lambda: stage.began("one") == stage.began("two") == 1)
    assert stage.state("three") == "queued"


def test_a_study_is_never_doubled(stage: Stage) -> None:
    supervisor = stage.serve(running=5)
    stage.submit("one")
    with pytest.raises(StudyError, match="already"):
        supervisor.submit("search", "one", [], "tests")


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_restarted_service_finds_what_runs(stage: Stage) -> None:
    first = stage.serve()
    stage.submit("one")
    stage.submit("two")
    eventually(lambda: stage.began("one") == 1)
    children = list(first._processes.children.values())
    again = stage.serve()
    assert (stage.state("one"), stage.state("two")) == ("running", "queued")
    with pytest.raises(StudyError, match="running already"):
        again.submit("search", "one", [], "tests")
    assert again.stop("one")
    children[0].wait(10)
    eventually(lambda: stage.state("one") == "ended")
    eventually(lambda: stage.began("two") == 1)
    assert stage.began("one") == 1


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_killed_before_it_wrote_down_what_it_had_started(stage: Stage) -> None:
    first = stage.serve()
    before = (stage.workplace.studies / "service" / "jobs.json").read_bytes() if first.jobs() else b"[]"
    assert before == b"[]"
    made = first.submit("search", "one", [str(stage.script("one"))], "tests")
    queued = (stage.workplace.studies / "service" / "jobs.json").read_bytes()
    first.tick()
    eventually(lambda: stage.began("one") == 1)
    child = first._processes.children[made.id]
    (stage.workplace.studies / "service" / "jobs.json").write_bytes(queued)
    stage.serve()
    assert stage.state("one") == "running"
    time.sleep(0.3)
    assert stage.began("one") == 1
    stage.end_all()
    child.wait(10)


def test_stop_is_ctrl_c_and_then_at_once(stage: Stage) -> None:
    supervisor = stage.serve(grace_seconds=0.2)
    (stage.script("one") / "stubborn").touch()
    made = stage.submit("one")
    eventually(lambda: stage.began("one") == 1)
    child = supervisor._processes.children[made.id]
    assert supervisor.stop("one")
    assert child.poll() is None
    eventually(lambda: stage.state("one") == "ended")
    job = supervisor.job_of("one")
    assert job is not None
    assert job.exit_code == 130
    assert job.error is None


@pytest.mark.parametrize(("by", "code"), [("service", 130), ("somebody", -15)])
def test_a_job_that_a_stop_at_once_ends_before_it_listens_did_not_fail(stage: Stage, by: str, code: int) -> None:
    supervisor = stage.serve()
    (stage.script("one") / "early").touch()
    made = stage.submit("one")
    eventually(lambda: stage.began("one") == 1)
    if by == "service":
        assert supervisor.stop("one", at_once=True)
    else:
        supervisor._processes.children[made.id].terminate()
    eventually(lambda: stage.state("one") == "ended")
    job = supervisor.job_of("one")
    assert job is not None
    assert job.exit_code == code
    assert (job.error is None) == (by == "service")


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.05, 0.2])
def test_a_stop_that_comes_while_it_starts_is_heard(stage: Stage, seconds: float) -> None:
    log, code = stage.folder / "log", stage.folder / "code"
    child = processes.start(["doctor"], log, stage.folder / "lock", exit_code=code)
    time.sleep(seconds)
    child.send_signal(signal.SIGINT)
    assert child.wait(60) == 130
    assert (log.read_text(), code.read_text()) == ("interrupted\n", "130")


def test_a_queued_job_gives_up_its_place(stage: Stage) -> None:
    supervisor = stage.serve()
    stage.submit("one")
    stage.submit("two")
    assert supervisor.stop("two")
    assert stage.state("two") == "ended"
    assert stage.began("two") == 0
    assert not supervisor.stop("absent")


def test_a_failure_keeps_the_command_s_own_words(stage: Stage) -> None:
    supervisor = stage.serve()
    (stage.script("one") / "fail").touch()
    (stage.script("one") / "end").touch()
    stage.submit("one")
    eventually(lambda: stage.state("one") == "ended")
    job = supervisor.job_of("one")
    assert job is not None
    assert (job.exit_code, job.error) == (1, "no memory")


def test_secrets_are_not_handed_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERQUANT_TOKEN", "s3cret")
    log = stage.folder / "log"
    program = (sys.executable, "-c", "import os; print(sorted(os.environ))")
    child = processes.start([], log, stage.folder / "lock", program=program)
    child.wait(10)
    assert "PATH" in log.read_text()
    assert "LAYERQUANT_TOKEN" not in log.read_text()


def test_the_database_goes_through_the_environment(stage: Stage) -> None:
    url = "postgresql://user:s3cret@host/name"
    log = stage.folder / "log"
    program = (sys.executable, "-c", "import os, sys; print(os.environ['LAYERQUANT_DATABASE'], sys.argv)")
    child = processes.start(["status"], log, stage.folder / "lock", program=program, database=url)
    child.wait(10)
    assert log.read_text() == f"{url} ['-c', 'status']\n"


def test_a_process_outlives_its_starter_s_session(stage: Stage) -> None:
    stage.serve()
    stage.submit("one")
    assert stage.supervisor is not None
    child = next(iter(stage.supervisor._processes.children.values()))
    assert os.getsid(child.pid) == child.pid
    assert os.getsid(0) != child.pid
    child.send_signal(signal.SIGTERM)


def test_one_service_a_folder(stage: Stage) -> None:
    stage.serve()
    with pytest.raises(StudyError, match="another service"):
        Supervisor(stage.workplace, stage.store, Rules())


def test_a_command_takes_a_search_s_place_and_a_check_does_not(stage: Stage) -> None:
    supervisor = stage.serve()
    stage.submit("one")
    command = supervisor.submit("command", "", [str(stage.script("two"))], "tests")
    supervisor.submit("check", "", [str(stage.script("three"))], "tests")
    stage.submit("four")
    eventually(lambda: stage.began("one") == stage.began("three") == 1)
    assert (stage.began("two"), stage.began("four")) == (0, 0)
    (stage.script("one") / "end").touch()
    eventually(lambda: stage.state("one") == "ended" and stage.began("two") == 1)
    assert stage.state("four") == "queued"
    assert supervisor.stop_run(command)
    eventually(lambda: stage.state("four") == "running")


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.parametrize("code", [0, 2, None])
def test_how_a_command_ended_is_known_from_itself_and_not_invented(stage: Stage, code: int | None) -> None:
    first = stage.serve()
    made = first.submit("command", "", [str(stage.script("one"))], "tests", writes=["x.gguf"])
    first.tick()
    eventually(lambda: stage.began("one") == 1)
    child = first._processes.children[made.id]
    again = stage.serve()
    found = again.run(made.id)
    assert found is not None
    assert (found.state, found.writes) == ("running", ("x.gguf",))
    with pytest.raises(StudyError, match=r"x\.gguf is being written"):
        again.submit("command", "", [], "tests", writes=["x.gguf"])
    if code is not None:  # as `layerquant` itself does
        (stage.workplace.studies / "service" / "runs" / f"{made.id}.code").write_text(str(code))
    stage.end_all()
    child.wait(10)
    again.tick()
    ended = again.run(made.id)
    assert ended is not None
    assert (ended.state, ended.exit_code) == ("ended", code)
    expected = {0: "None", 2: "it ended with exit code 2", None: "killed"}[code]
    assert expected in str(ended.error)


def test_a_queue_of_an_older_version_is_read(stage: Stage) -> None:
    stage.serve()
    path = stage.workplace.studies / "service" / "jobs.json"
    row = {"id": 3, "kind": "search", "study": "one", "arguments": ["search"], "by": "x", "submitted_at": 1.0}
    path.write_text(json.dumps([row | {"state": "ended"}]))
    supervisor = stage.serve()
    assert [(job.id, job.arguments, job.writes) for job in supervisor.jobs()] == [(3, ("search",), ())]
