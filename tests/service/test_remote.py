"""`--server URL`: the same commands, answered by a service."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from optimizer.cli import run
from optimizer.doctor import Check
from optimizer.service.app import make_app
from optimizer.service.client import Client
from optimizer.service.remote import split_server
from optimizer.service.settings import ServiceSettings
from optimizer.workplace import Workplace
from tests.service.conftest import URL, Asked, Call
from tests.store.studies import new_study

LAYER_TYPES = '[[0,"Q4_K_M"],[1,"Q6_K"],[2,"Q4_K_M"],[3,"Q4_K_M"]]'


@pytest.fixture
def call(asked: Asked, client: TestClient) -> Call:
    """Runs a command against the service of `client`."""
    return asked(client)


def test_the_same_answers_as_without(call: Call, settings: ServiceSettings, capfd: pytest.CaptureFixture[str]) -> None:
    here = ["--studies", str(settings.workplace.studies)]
    for words, own in ((("status", "night"), {"job": None}), (("trials", "night"), {})):
        assert run([*words, "--json", *here]) == 0
        local = json.loads(capfd.readouterr().out)
        code, out, err = call(*words, "--json")
        assert (code, err) == (0, "")
        assert json.loads(out) == local | own
    assert "night" in call("status")[1]


@pytest.fixture(scope="module")
def over_finished(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service over a copy of the finished study; nothing here changes it."""
    studies = tmp_path_factory.mktemp("copy") / "studies"
    shutil.copytree(finished / "studies", studies)
    settings = ServiceSettings(Workplace(studies), (finished,))
    with TestClient(make_app(settings), base_url=URL) as client:
        yield client


@pytest.mark.parametrize(
    "words",
    [
        ("trials", "study"), ("trials", "study", "--csv"), ("trials", "study", "--json"),
        ("report", "study"), ("report", "study", "--json"),
        *(("export", "study", "--as", form) for form in ("layer-types", "tensor-type-file", "command", "card")),
        ("status", "study"),
    ],
)  # fmt: skip
def test_a_finished_study_looks_as_here(
    asked: Asked, over_finished: TestClient, finished: Path, capfd: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run([*words, "--studies", str(finished / "studies")]) == 0
    local = capfd.readouterr().out
    assert len(local) > 100
    assert asked(over_finished)(*words) == (0, local, "")


def test_a_report_s_page_is_the_same_file(
    asked: Asked, over_finished: TestClient, finished: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.html", tmp_path / "there.html"
    assert run(["report", "study", "--html", str(here), "--studies", str(finished / "studies")]) == 0
    assert asked(over_finished)("report", "study", "--html", str(there))[0] == 0
    assert there.read_bytes() == here.read_bytes()


@pytest.mark.parametrize(
    "options",
    [
        (), ("--json",), ("--budget", "4bpw", "--units", "groups", "--types", "Q3_K,Q4_K,Q6_K"),
        ("--layer-types", LAYER_TYPES, "--pin", "attn_v=Q6_K", "--output-tensor-type", "Q8_0"),
    ],
)  # fmt: skip
def test_a_plan_looks_as_here(
    asked: Asked, over_finished: TestClient, finished: Path, capfd: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    words = ["plan", str(finished / "tiny.gguf"), *options]
    assert run(words) == 0
    local = capfd.readouterr().out
    assert len(local) > 100
    assert asked(over_finished)(*words) == (0, local, "")


def test_the_service_s_machine_is_examined(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = [Check("disk", "ok", "9 GB free"), Check("memory", "warn", "little", "close something")]
    monkeypatch.setattr("optimizer.service.routes.health.examine", lambda _: checks)
    code, out, _ = call("doctor", "--json")
    assert code == 0
    assert [each["name"] for each in json.loads(out)["checks"]] == ["service", "disk", "memory"]
    checks.append(Check("python", "fail", "32 bits"))
    code, out, _ = call("doctor")
    assert (code, "close something" in out) == (1, True)


def test_no_file_is_read_in_place_of_layer_types(over_finished: TestClient, finished: Path) -> None:
    secret = finished / "search.txt"
    answer = over_finished.get("/api/plan", params={"model": "tiny.gguf", "layer_types": str(secret)})
    assert answer.status_code == 400
    assert "no file is read" in answer.json()["detail"]


def test_without_a_name_it_is_the_only_study(call: Call, settings: ServiceSettings) -> None:
    assert "night is not running" in call("stop")[1]
    with settings.workplace.open_store() as store:
        store.release_lease(new_study(store, "second").lease)
    code, _, err = call("stop")
    assert (code, "night, second" in err) == (1, True)


def test_stop_and_resume(call: Call, client: TestClient) -> None:
    code, out, _ = call("stop", "night")
    assert (code, "not running" in out) == (0, True)
    code, out, _ = call("resume", "night", "--trials", "9")
    assert code == 0
    job = client.get("/api/studies/night").json()["job"]
    assert "resume night --trials 9" in job["command"]
    client.post("/api/studies/night/stop", json={"at_once": True})


def test_a_service_resumes_where_the_study_ran(call: Call, client: TestClient) -> None:
    code, _, said = call("resume", "night", "--workers", "2")
    assert code == 2
    assert "--workers does not go with --server" in said
    assert client.get("/api/studies/night").json()["job"] is None


def test_a_search_is_planned_by_the_service(call: Call) -> None:
    code, _, err = call("search", "/etc/absent.gguf", "--budget", "4bpw")
    assert code == 2
    assert "outside the folders" in err


@pytest.mark.parametrize(
    ("words", "expected", "code"),
    [
        (("serve",), "it is the service itself", 2),
        (("worker",), "these do: doctor, eval, export", 2),
        (("db", "upgrade"), "reaches that", 2),
        (("prompts",), "does not go with --server", 2),
        (("nonsense",), "does not go with --server", 2),
        (("search", "x.gguf", "--studies", "x"), "the service has its own", 2),
        (("status", "--studies", "x"), "the service has its own", 2),
        (("export", "night", "--as", "folder"), "does not go with --server", 2),
        (("report", "night"), "not finished", 1),
        (("status", "absent"), "no study absent", 1),
        (("plan", "tiny.gguf", "--layer-types", "/absent"), "/absent", 2),
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
