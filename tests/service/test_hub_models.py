"""Models by their names on a hub: planned by their headers, at a service as on the command line."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.models import tiny_model
from tests.sources.hub_server import FakeHub, fake_hub
from tests.waiting import eventually

HUB_MODEL = "hf://o/r/tiny.gguf"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub with tiny.gguf of 4 layers, and an empty cache."""
    with fake_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.delenv("HF_HUB_CACHE", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("optimizer.sources.headers.FIRST_BYTES", 20_000)
        (tmp_path / "made").mkdir()
        content = tiny_model(tmp_path / "made", n_layer=4).read_bytes()
        assert len(content) > 1_000_000
        served.add("o/r", {"tiny.gguf": content})
        yield served


def plan(client: TestClient, model: str, budget: str = "5bpw") -> tuple[int, dict]:
    answer = client.get("/api/plan", params={"model": model, "budget": budget})
    return answer.status_code, answer.json()


def test_a_plan_needs_the_header_alone(client: TestClient, hub: FakeHub, settings: object, tmp_path: Path) -> None:
    status, found = plan(client, HUB_MODEL)
    assert status == 200, found
    assert found["n_layer"] == 4
    assert found["model"] == HUB_MODEL
    assert all(each is not None and int(each.rpartition("-")[2]) < 100_000 for each in hub.ranges())
    assert found["source_bytes"] == (tmp_path / "made" / "tiny.gguf").stat().st_size


def test_what_is_wrong_is_said(client: TestClient, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    status, found = plan(client, "hf://o/r/absent.gguf")
    assert (status, "no file absent.gguf" in found["detail"]) == (400, True)
    status, found = plan(client, HUB_MODEL, "1kB")
    assert (status, "below" in found["detail"]) == (400, True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    status, found = plan(client, "hf://o/other/m-F16.gguf")
    assert (status, "HF_HUB_OFFLINE" in found["detail"]) == (502, True)


def test_a_search_that_cannot_be_is_refused_before_it_is_queued(client: TestClient, hub: FakeHub) -> None:
    answer = client.post("/api/studies", json={"config": {"model": HUB_MODEL, "budget": "1kB", "study": "fresh"}})
    assert (answer.status_code, "below" in answer.json()["detail"]) == (400, True)
    assert client.get("/api/studies/fresh").status_code == 404


def test_a_hub_that_is_away_is_the_search_s_own_trouble(
    settings: object, launcher_of_true: TestClient, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    body = {"config": {"model": HUB_MODEL, "budget": "5bpw", "study": "fresh"}}
    assert launcher_of_true.post("/api/studies", json=body).status_code == 201
    eventually(lambda: launcher_of_true.get("/api/studies/fresh").json()["job"]["state"] == "ended")
