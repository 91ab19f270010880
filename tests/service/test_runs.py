"""Commands that a service runs for `--server`: what it takes, what it never reaches, what comes back here."""

import json
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from rich.console import Console

from optimizer import progress
from optimizer.errors import EngineError
from optimizer.named_files import BUNDLED
from optimizer.service import remote_runs
from optimizer.service.app import make_app
from optimizer.service.client import Client
from optimizer.service.job_processes import Rules
from optimizer.service.run_files import read_said
from optimizer.service.settings import ServiceSettings
from optimizer.workplace import Workplace
from tests.service.conftest import URL, Asked, Call

FAKE = """
import json, pathlib, signal, sys, time
stops = []
signal.signal(signal.SIGINT, lambda *_: stops.append(1))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
words = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[1:] if word.startswith("--"))
print("quantizing (2) \\u00e9", file=sys.stderr, flush=True)
if words.get("threads") == "7":
    while not stops:
        time.sleep(0.01)
    print("what was summed is kept", file=sys.stderr)
    sys.exit(130)
if words.get("threads") == "8":
    print("error: no such type", file=sys.stderr)
    sys.exit(2)
if words.get("threads") == "9":
    signal.raise_signal(signal.SIGKILL)
for name in ("output", "csv", "transcripts"):
    if name in words:
        pathlib.Path(words[name]).write_text(f"made by {sys.argv[1]}")
if "csv-format" in words:
    whole = pathlib.Path(words["csv"])
    (whole.parent / "group0" / whole.name).write_text("whole")
print(json.dumps(sys.argv[1:]))
"""


def settings_in(folder: Path) -> ServiceSettings:
    """With a small script in place of layerquant, and tiny.gguf, a text, a suite and a matrix to be named."""
    models = folder / "models"
    models.mkdir()
    for name in ("tiny.gguf", "text.txt", "suite.yaml", "matrix.gguf"):
        (models / name).write_text("x")
    (models / "way-out.txt").symlink_to("/etc/hostname")
    return ServiceSettings(Workplace(folder / "studies"), (models,), program=(sys.executable, "-c", FAKE))


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    return settings_in(tmp_path)


@pytest.fixture
def service(settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setattr("optimizer.service.app.Rules", partial(Rules, tick_seconds=0.02))
    with TestClient(make_app(settings), base_url=URL) as client:
        yield client


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service that has run nothing in the end."""
    settings = settings_in(tmp_path_factory.mktemp("untouched"))
    with TestClient(make_app(settings), base_url=URL) as client:
        yield client
        assert client.get("/api/runs").json() == {"runs": []}
    assert not (settings.workplace.studies / "service" / "audit.jsonl").exists()


@pytest.fixture
def call(service: TestClient, asked: Asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Runs a command line against the service, in a folder of its own."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(remote_runs, "POLL_SECONDS", 0.02)
    return asked(service)


def post(service: TestClient, command: str, *words: str) -> Any:
    return service.post("/api/runs", json={"command": command, "words": list(words)})


def ended(service: TestClient, number: int) -> dict[str, Any]:
    until = time.monotonic() + 20
    while (shown := service.get(f"/api/runs/{number}").json())["state"] != "ended":
        assert time.monotonic() < until, shown
        time.sleep(0.02)
    assert isinstance(shown, dict)
    return shown


def test_a_file_is_made_there_and_comes_here(call: Call, service: TestClient, settings: ServiceSettings) -> None:
    code, out, err = call("quantize", "tiny.gguf", "--recipe", "Q4_K_M", "-o", "../here/small.gguf")
    (folder,) = settings.models
    outputs = settings.workplace.studies / "service" / "files"
    assert (code, json.loads(out)) == (
        0,
        ["quantize", f"--output={outputs / 'small.gguf'}", "--recipe=Q4_K_M", "--", str(folder / "tiny.gguf")],
    )
    assert "quantizing (2) é\n" in err
    assert "here: ../here/small.gguf, 16 bytes" in err
    assert Path("small.gguf").read_text() == "made by quantize"
    shown = service.get("/api/runs").json()["runs"]
    assert [(each["state"], each["exit_code"], each["error"]) for each in shown] == [("ended", 0, None)]
    assert shown[0]["files"] == [{"name": "small.gguf", "size_bytes": 16}]
    # What one command made the next one finds.
    code, out, _ = call("eval", "small.gguf", "--reference", "tiny.gguf", "--text", "text.txt", "-c", "64", "--json")
    words = json.loads(out)
    assert code == 0
    assert words[-1] == str(outputs / "small.gguf")
    assert set(words[1:-2]) == {
        f"--reference={folder / 'tiny.gguf'}", f"--text={folder / 'text.txt'}", "--ctx-size=64", "--json",
    }  # fmt: skip


def test_both_tables_of_a_probe(call: Call, settings: ServiceSettings) -> None:
    code, out, _ = call("probe", "tiny.gguf", "--csv", "kld.csv", "--csv-format", "tool-suite", "--set", "seed=3")
    assert code == 0
    assert Path("kld.csv").read_text() == "made by probe"
    assert Path("group0/kld.csv").read_text() == "whole"
    words = json.loads(out)
    assert words[1:3] == ["--studies", str(settings.workplace.studies)]


def test_local_layer_types_are_read_here(call: Call) -> None:
    Path("types.json").write_text('[[0,"Q4_K"],[1,"Q6_K"]]')
    code, out, _ = call("quantize", "tiny.gguf", "--layer-types", "types.json", "-o", "x.gguf")
    assert code == 0
    assert "Q6_K" in next(word for word in json.loads(out) if word.startswith("--layer-types="))


def test_exit_codes_are_the_command_s(call: Call, service: TestClient) -> None:
    words = ("quantize", "tiny.gguf", "--recipe", "Q4_K_M", "-o", "x.gguf", "--threads")
    code, out, err = call(*words, "8")
    assert (code, out) == (2, "")
    assert "error: no such type" in err
    assert not Path("x.gguf").exists()
    assert service.get("/api/runs/1").json()["error"] == "no such type"
    code, _, err = call(*words, "9")
    assert (code, "exit code -9" in err) == (1, True)
    assert service.get("/api/runs/2/files/x.gguf").status_code == 404


@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_stops_it_there(call: Call, service: TestClient, monkeypatch: pytest.MonkeyPatch, presses: int) -> None:
    pressed: list[str] = []
    ask = Client.get

    def get(self: Client, path: str, **query: Any) -> Any:
        found = ask(self, path, **query)
        if len(pressed) < presses and (pressed or (query.get("stream") == "stderr" and found["text"])):
            pressed.append(path)
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(Client, "get", get)
    code, _, err = call("imatrix", "tiny.gguf", "--text", "text.txt", "-o", "m.gguf", "--threads", "7")
    assert code == 130
    assert ("what was summed is kept" in err) is (presses == 1)
    shown = ended(service, 1)
    assert shown["exit_code"] in ((130,) if presses == 1 else (130, -signal.SIGTERM))
    assert shown["files"] == []
    assert shown["stopped_at"] is not None


def test_a_service_that_is_started_anew_is_waited_for(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    ask, away = Client.get, iter([True, True, True])

    def get(self: Client, path: str, **query: Any) -> Any:
        if next(away, False):
            raise EngineError("away")
        return ask(self, path, **query)

    monkeypatch.setattr(Client, "get", get)
    assert call("prompts", "check", "suite.yaml")[0] == 0
    monkeypatch.setattr(Client, "get", lambda *_, **__: (_ for _ in ()).throw(EngineError("away for good")))
    monkeypatch.setattr(remote_runs, "PATIENCE_SECONDS", 0.0)
    code, _, err = call("prompts", "check", "suite.yaml")
    assert (code, "away for good" in err) == (1, True)


def test_it_takes_its_turn_and_light_ones_do_not_wait(service: TestClient) -> None:
    first = post(service, "eval", "tiny.gguf", "-t", "7").json()
    second = post(service, "eval", "tiny.gguf").json()
    light = post(service, "prompts", "check", "suite.yaml")
    assert light.status_code == 422
    light = post(service, "prompts check", "suite.yaml").json()
    statistics = post(service, "imatrix", "--show-statistics", "matrix.gguf").json()
    assert ended(service, light["id"])["exit_code"] == ended(service, statistics["id"])["exit_code"] == 0
    assert service.get(f"/api/runs/{second['id']}").json()["state"] == "queued"
    assert service.delete(f"/api/runs/{second['id']}").status_code == 409
    assert service.post(f"/api/runs/{second['id']}/stop").json()["state"] == "ended"
    service.post(f"/api/runs/{first['id']}/stop")
    assert ended(service, first["id"])["exit_code"] == 130


def test_a_study_says_what_it_waits_for(service: TestClient, settings: ServiceSettings) -> None:
    number = post(service, "eval", "tiny.gguf", "-t", "7").json()["id"]
    supervisor = service.app.state.service.supervisor  # type: ignore[attr-defined]  # TestClient's app has no type
    until = time.monotonic() + 20
    while service.get(f"/api/runs/{number}").json()["state"] != "running":
        assert time.monotonic() < until
        time.sleep(0.02)
    supervisor.submit("search", "night", ["--threads=7"], "tests")
    shown = service.get("/api/studies/night").json()
    assert (shown["state"], shown["phase"]) == ("queued", f"waits for run {number} (eval)")
    for page in ("/", "/studies/night"):
        assert f"waits for run {number} (eval)" in service.get(page).text
    assert service.post("/api/studies/night/stop").json()["phase"] is None
    service.post(f"/api/runs/{number}/stop")
    ended(service, number)


def test_two_do_not_write_one_file(service: TestClient) -> None:
    words = ("tiny.gguf", "--recipe", "Q8_0", "-o", "x.gguf")
    first = post(service, "quantize", *words, "--threads", "7").json()["id"]
    answer = post(service, "quantize", *words)
    assert (answer.status_code, answer.json()["detail"]) == (409, "x.gguf is being written already")
    service.post(f"/api/runs/{first}/stop")
    ended(service, first)
    for number in (second := post(service, "quantize", *words).json()["id"], second + 1):
        if number > second:
            post(service, "quantize", *words)
        ended(service, number)
    # A file is the last one's that wrote it.
    assert service.get(f"/api/runs/{second}").json()["files"] == []
    assert service.delete(f"/api/runs/{second}").status_code == 200
    assert service.get(f"/api/runs/{second + 1}/files/x.gguf").text == "made by quantize"


def test_what_a_run_left_can_be_deleted(service: TestClient, settings: ServiceSettings) -> None:
    number = post(service, "quantize", "tiny.gguf", "--recipe", "Q8_0", "-o", "x.gguf").json()["id"]
    ended(service, number)
    folder = settings.workplace.studies / "service"
    assert service.get(f"/api/runs/{number}/files/x.gguf").text == "made by quantize"
    assert len(list((folder / "runs").iterdir())) == 2
    assert service.delete(f"/api/runs/{number}").json() == {"deleted": number}
    assert list((folder / "files").iterdir()) == list((folder / "runs").iterdir()) == []
    for path in ("", "/output", "/files/x.gguf"):
        assert service.get(f"/api/runs/{number}{path}").status_code == 404
    actions = [json.loads(line)["action"] for line in (folder / "audit.jsonl").read_text().splitlines()]
    assert actions == ["run", "delete run"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("eval", ["/etc/hostname"]),
        ("eval", ["../studies/layerquant.db"]),
        ("eval", ["tiny.gguf", "--text", "way-out.txt"]),
        ("eval", ["tiny.gguf", "--text", "wikitext-2-raw/../../x"]),
        ("eval", ["tiny.gguf", "--text", "eaddario/imatrix-calibration/../../etc/hostname"]),
        ("eval", ["tiny.gguf", "--prompts", "/etc/hostname"]),
        ("eval", ["tiny.gguf", "--reference", "~/model.gguf"]),
        ("eval", ["tiny.gguf", "--transcripts", "../x"]),
        ("eval", ["tiny.gguf", "--html", "/tmp/x.html"]),
        ("eval", ["tiny.gguf", "--html", ".hidden"]),
        ("eval", ["tiny.gguf", "--html", "matrix.gguf.partial"]),
        ("eval", ["tiny.gguf", "--html", "tiny.gguf"]),
        ("eval", ["tiny.gguf", "--html", "a.txt", "--transcripts", "a.txt"]),
        ("eval", ["tiny.gguf", "--chat-template", "/etc/hostname"]),
        ("eval", ["tiny.gguf", "--studies", "x"]),
        ("eval", ["tiny.gguf", "-ctk", "/etc/hostname"]),
        ("eval", ["--help"]),
        ("eval", []),
        ("eval", ["tiny.gguf", "; rm -rf x"]),
        ("eval", ["tiny\0.gguf"]),
        ("quantize", ["tiny.gguf", "-o", "x.gguf", "--layer-types", "/etc/hostname"]),
        ("quantize", ["tiny.gguf", "-o", "x.gguf", "--recipe", "/etc/hostname"]),
        ("quantize", ["tiny.gguf", "-o", "x.gguf", "--recipe", "Q4_K_M", "--imatrix", "/etc/hostname"]),
        ("imatrix", ["--show-statistics", "/etc/hostname"]),
        ("probe", ["tiny.gguf", "--csv-in", "/etc/hostname"]),
        ("probe", ["tiny.gguf", "--database", "sqlite:////tmp/x.db"]),
        ("probe", ["tiny.gguf", "--bank", "/tmp"]),
        ("probe", ["tiny.gguf", "--set", "sensitivities=/etc/hostname"]),
        ("prompts check", ["/etc/hostname"]),
        ("prompts check", ["suite.yaml", "--answers", "/etc/hostname"]),
    ],
)  # fmt: skip
def test_nothing_beside_the_folders_is_reached(untouched: TestClient, command: str, words: list[str]) -> None:
    answer = post(untouched, command, *words)
    assert answer.status_code in (400, 403), answer.json()


@pytest.mark.parametrize("command", ["serve", "db", "search", "doctor", "eval --studies x", ""])
def test_no_other_command_is_run(untouched: TestClient, command: str) -> None:
    assert post(untouched, command, "tiny.gguf").status_code == 422


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("prompts", "check", "mine.yaml"), "copy it to its machine"),
        (("eval", "tiny.gguf", "--nonsense"), "nonsense"),
        (("eval", "tiny.gguf", "--studies", "x"), "the service has its own"),
        (("imatrix", "tiny.gguf", "--text", "text.txt", "-o", "absent/x.gguf"), "no folder absent"),
    ],
)
def test_one_clear_error(call: Call, words: tuple[str, ...], expected: str) -> None:
    code, out, err = call(*words)
    assert expected in err
    assert "Traceback" not in err
    assert (code, out) == (2, "")


def test_what_is_shipped_may_be_named(service: TestClient) -> None:
    for words in (
        ("eval", "tiny.gguf", "--prompts", "core"),
        ("prompts check", "core"),
        ("prompts check", "prompts/core.yaml"),
    ):
        answer = post(service, *words)
        assert answer.status_code == 202
        assert ended(service, answer.json()["id"])["exit_code"] == 0
    assert str(BUNDLED / "prompts" / "core.yaml") in answer.json()["command"]


@pytest.mark.parametrize("told", ["lines", ""])
def test_progress_in_lines(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv(progress.PROGRESS_VARIABLE, told)
    monkeypatch.setattr(progress, "SECONDS_A_LINE", 0.0)
    file = StringIO()
    reporter = progress.TerminalReporter(Console(file=file))
    reporter.phase("evaluation", 2)
    reporter.work(3, 1000, "reference")
    reporter.advance(1)
    reporter.close()
    lines = ["evaluation (2)", "reference: 3 of 1,000", "evaluation: 1 of 2"]
    assert file.getvalue().splitlines() == (lines if told else lines[:1])


def test_output_is_read_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "1.out"
    log.write_bytes("aé".encode()[:-1])
    assert read_said(log, 0, ended=False) == ("a", 1)
    assert read_said(log, 0, ended=True) == ("a\ufffd", 2)
    log.write_bytes("aé".encode())
    assert read_said(log, 1, ended=False) == ("é", 3)
    assert read_said(log, 99, ended=False) == ("", 99)
    assert read_said(tmp_path / "absent", 5, ended=False) == ("", 5)
    log.write_bytes(b"x" * 300_000)
    text, after = read_said(log, 0, ended=True)
    assert (len(text), after) == (262_144, 262_144)
