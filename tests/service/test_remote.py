"""`--server URL`: the same commands, answered by a service."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from optimizer.cli import run
from optimizer.service.client import Client
from optimizer.service.remote import split_server
from optimizer.service.settings import ServiceSettings

URL = "http://127.0.0.1:8642"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(client: TestClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command against the service of `client`."""

    def made(url: str) -> Client:
        found = Client(url)
        found._http.close()
        found._http = client
        return found

    monkeypatch.setattr(Client, "of_environment", made)
    monkeypatch.setattr(Client, "close", lambda _: None)

    def run_it(*words: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([*words, "--server", URL])
        seen = capfd.readouterr()
        return code, seen.out, seen.err

    return run_it


def test_the_same_answers_as_without(call: Call, settings: ServiceSettings, capfd: pytest.CaptureFixture[str]) -> None:
    here = ["--studies", str(settings.workplace.studies)]
    for words, own in ((("status", "night"), {"job": None}), (("trials", "night"), {})):
        assert run([*words, "--json", *here]) == 0
        local = json.loads(capfd.readouterr().out)
        code, out, err = call(*words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == local | own
    assert "night" in call("status")[1]


def test_stop_and_resume(call: Call, client: TestClient) -> None:
    code, out, _ = call("stop", "night")
    assert (code, "not running" in out) == (0, True)
    code, out, _ = call("resume", "night", "--trials", "9")
    assert code == 0
    job = client.get("/api/studies/night").json()["job"]
    assert "resume night --trials 9" in job["command"]
    client.post("/api/studies/night/stop", json={"at_once": True})


def test_a_search_is_planned_by_the_service(call: Call) -> None:
    code, _, err = call("search", "/etc/absent.gguf", "--budget", "4bpw")
    assert code == 2
    assert "outside the folders" in err


@pytest.mark.parametrize(
    ("words", "expected", "code"),
    [
        (("doctor",), "does not go with --server", 2),
        (("trials", "night"), "add --json", 2),
        (("status", "--studies", "x"), "the service has its own", 2),
        (("export", "night", "--as", "folder"), "does not go with --server", 2),
        (("report", "night"), "not finished", 1),
        (("status", "absent"), "no study absent", 1),
        (("stop",), "name a study", 2),
        (("status", "--nonsense"), "nonsense", 2),
    ],
)
def test_one_clear_error(call: Call, words: tuple[str, ...], expected: str, code: int) -> None:
    found, out, err = call(*words)
    assert expected in err
    assert "Traceback" not in err
    assert (found, out) == (code, "")


def test_nobody_answers(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--server", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capfd.readouterr().err
    assert run(["status", "--server", "ftp://x"]) == 2
    assert run(["status", "--server"]) == 2


def test_the_address_is_found_wherever_it_stands() -> None:
    assert split_server(["status", "--server", "u", "x"]) == ("u", ["status", "x"])
    assert split_server(["status", "--server=u"]) == ("u", ["status"])
    assert split_server(["a", "--", "--server", "u"]) == (None, ["a", "--", "--server", "u"])


def test_a_download_is_whole_or_not_there(client: TestClient, tmp_path: Path) -> None:
    service = Client(URL)
    service._http.close()
    service._http = client
    output = tmp_path / "out.js"
    assert service.download("/static/htmx/htmx.min.js", output) == output.stat().st_size
    with pytest.raises(Exception, match="no study"):
        service.download("/api/studies/absent/exports/files/x", tmp_path / "x")
    assert [path.name for path in tmp_path.glob("*.js")] == ["out.js"]
