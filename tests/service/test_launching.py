"""Settings that somebody sent: what is refused before anything is written, and what is queued."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient

from optimizer.service.app import make_app
from optimizer.service.settings import ServiceSettings
from tests.models import tiny_model

TEXT = "one two three {} four five six. "


@pytest.fixture
def folder(settings: ServiceSettings) -> Path:
    """Models and texts of the service: tiny.gguf, search.txt, report.txt."""
    tiny_model(settings.models[0], n_layer=4).rename(settings.models[0] / "tiny.gguf")
    for name in ("search", "report"):
        (settings.models[0] / f"{name}.txt").write_text(TEXT.format(name) * 400)
    return settings.models[0]


@pytest.fixture
def launcher(settings: ServiceSettings, folder: Path) -> Iterator[TestClient]:
    """A service whose searches write down how they were called."""
    program = (sys.executable, "-c", "import sys; print(sys.argv[1:])")
    with TestClient(make_app(replace(settings, program=program)), base_url="http://127.0.0.1") as client:
        yield client


def config(**changes: Any) -> dict[str, Any]:
    return {
        "model": "tiny.gguf", "budget": "5bpw", "search_text": "search.txt", "report_text": "report.txt",
        "evaluation": {"ctx_size": 64, "chunks": 4},
    } | changes  # fmt: skip


def test_a_search_is_queued_as_on_the_command_line(
    launcher: TestClient, settings: ServiceSettings, folder: Path
) -> None:
    made = launcher.post("/api/studies", json={"config": config(study="fresh")})
    assert made.status_code == 201, made.text
    assert made.json()["study"] == "fresh"
    home = settings.workplace.studies / "fresh"
    written = yaml.safe_load((home / "config.yaml").read_text())
    assert written["model"] == str(folder / "tiny.gguf")
    assert written["evaluation"] == {"ctx_size": 64, "chunks": 4}
    words = made.json()["job"]["command"].split()
    assert words[:2] == ["layerquant", "search"]
    assert words[words.index("--study") + 1] == "fresh"
    assert words[words.index("--studies") + 1] == str(settings.workplace.studies.resolve())


def test_yaml_and_a_name_of_its_own_making(launcher: TestClient) -> None:
    made = launcher.post("/api/studies", json={"yaml": yaml.safe_dump(config())})
    assert made.status_code == 201, made.text
    assert made.json()["study"] == "tiny-5bpw-layers"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "either"),
        ({"config": {"budget": "5bpw"}}, 400, "model"),
        ({"config": config(budget="1kB")}, 400, "below"),
        ({"config": config(trials=0)}, 400, "trials"),
        ({"config": config(nonsense=1)}, 400, "unknown setting"),
        ({"config": config(model="absent.gguf")}, 404, "no such file"),
        ({"config": config(model="/etc/passwd")}, 403, "outside"),
        ({"config": config(study="night")}, 409, "already"),
        ({"config": config(study="bank")}, 400, "cannot be a study's name"),
        ({"config": config(study="\ud800")}, 400, "character"),
        ({"config": config(search_text="report.txt")}, 400, "differ|same"),
        ({"yaml": "a: &x [1]\nb: *x"}, 400, "references"),
        ({"yaml": "[" * 5000}, 400, "YAML"),
        ({"yaml": "just words"}, 400, "key: value"),
        ({"yaml": "when: 2020-01-01"}, 400, "date"),
        ({"config": {}, "more": 1}, 422, "more"),
    ],
)
def test_what_is_refused_leaves_nothing(
    launcher: TestClient, settings: ServiceSettings, body: dict[str, Any], status: int, words: str
) -> None:
    before = sorted(path.name for path in settings.workplace.studies.iterdir())
    answer = launcher.post("/api/studies", content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert any(word in answer.json()["detail"] for word in words.split("|")), answer.text
    assert sorted(path.name for path in settings.workplace.studies.iterdir()) == before
    assert [each["study"] for each in launcher.get("/api/studies").json()["studies"]] == ["night"]


def test_deleting(launcher: TestClient, settings: ServiceSettings) -> None:
    launcher.post("/api/studies", json={"config": config(study="fresh")})
    launcher.post("/api/studies/fresh/stop", json={"at_once": True})
    for _ in range(500):
        if launcher.get("/api/studies/fresh").json()["job"]["state"] == "ended":
            break
        launcher.app.state.service.supervisor.tick()  # type: ignore[attr-defined]  # TestClient's app has no type
    assert launcher.delete("/api/studies/fresh").status_code == 200
    assert launcher.get("/api/studies/fresh").status_code == 404
    assert not (settings.workplace.studies / "fresh").exists()
    assert launcher.delete("/api/studies/night").status_code == 200
    assert launcher.get("/api/studies").json() == {"studies": []}


def test_what_is_being_written_is_not_deleted(launcher: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = launcher.app.state.service.supervisor  # type: ignore[attr-defined]  # TestClient's app has no type
    monkeypatch.setattr(supervisor, "tick", lambda: None)  # it stays in the queue
    supervisor.submit("export", "night", [], "tests", Path("night.gguf"))
    answer = launcher.delete("/api/studies/night")
    assert (answer.status_code, "export" in answer.json()["detail"]) == (409, True)
    assert launcher.get("/api/studies/night").status_code == 200
