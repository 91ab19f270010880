"""What the API gives of studies, trials, models and plans."""

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from optimizer.cli import run
from optimizer.service.app import make_app
from optimizer.service.context import Service
from optimizer.service.routes.events import Watcher
from optimizer.service.settings import ServiceSettings
from optimizer.store import SensitivityRecord, Store, TrialOutcome
from optimizer.store.schema import Trial
from optimizer.workplace import Workplace
from tests.models import tiny_model
from tests.store.studies import Fixture, new_study

MEGABYTE = 10**6


def test_trials_are_the_command_s(
    client: TestClient, settings: ServiceSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["trials", "night", "--json", "--studies", str(settings.workplace.studies)]) == 0
    printed = json.loads(capfd.readouterr().out)
    answer = client.get("/api/studies/night/trials?layer_types=true").json()
    assert answer == printed | {"next": None}
    assert "layer_types" not in client.get("/api/studies/night/trials").json()["trials"][0]
    part = client.get("/api/studies/night/trials?first=1&limit=2").json()
    assert [each["number"] for each in part["trials"]] == [1, 2]
    assert part["next"] == 3


def test_one_trial_with_its_tensors(client: TestClient) -> None:
    trial = client.get("/api/studies/night/trials/1").json()
    assert trial["mean_kld"] == 0.1
    assert trial["tensor_types"] == {"blk.0.ffn_up.weight": "Q4_K"}
    assert trial["layer_map"]["bits"] == [[4.5]]
    assert client.get("/api/studies/night/trials/99").status_code == 404
    assert client.get("/api/studies/night/trials/1/transcripts").json() == {"suites": []}
    assert client.get("/api/studies/night/trials/1/transcripts/p1").status_code == 404


def test_the_front(client: TestClient) -> None:
    front = client.get("/api/studies/night/front").json()
    assert front["best"] == 1
    assert [(point["number"], point["on_front"]) for point in front["points"]] == [(0, False), (1, True), (2, False)]


def test_sensitivities(client: TestClient, settings: ServiceSettings) -> None:
    with settings.workplace.open_store() as store:
        record = store.find_study("night")
        assert record is not None
        lease = store.acquire_lease(record.id, 60)
        store.update_study(lease, config={"budget": "IQ4_XS", "contents": ["t1"]})
        store.release_lease(lease)
        text = store.add_text(sha256="t1", path="search.txt", n_bytes=5000)
        key = store.add_settings({"ctx_size": 512, "engine": "b1"})
        store.add_sensitivities([SensitivityRecord(record.model_id, text.id, key, "blk.0", "Q4_K", "F16", 0.2)])
    found = client.get("/api/studies/night/sensitivities").json()["sensitivities"]
    assert [(each["unit"], each["kld"]) for each in found] == [("blk.0", 0.2)]


def test_a_thousand_trials_of_64_layers_are_less_than_a_megabyte(tmp_path: Path) -> None:
    types = json.dumps([[layer, "IQ4_XS"] for layer in range(64)])
    folder = tmp_path / "studies"
    folder.mkdir()
    with Workplace(folder).open_store() as store:
        study = new_study(store)
        with store.writing() as session:  # a thousand trials of their own take a thousand times the disk's patience
            session.execute(insert(Trial), [_row(study, number, types) for number in range(1000)])
        store.release_lease(study.lease)
    with TestClient(make_app(ServiceSettings(Workplace(folder))), base_url="http://localhost") as client:
        for path in ("/trials", "/front", "/sensitivities", "", "/trials?layer_types=true&limit=300"):
            answer = client.get(f"/api/studies/night{path}")
            assert answer.status_code == 200
            assert 20 < len(answer.content) < MEGABYTE, path


def _row(study: Fixture, number: int, types: str) -> dict[str, object]:
    return {
        "study_id": study.study_id,
        "number": number,
        "state": "complete",
        "origin": "surrogate",
        "budget_bytes": 17_900_000_000,
        "recipe_id": study.recipe_id,
        "size_bytes": 17_900_000_000 - number,
        "mean_kld": 0.123456789012345 + number / 7e5,
        "mean_kld_standard_error": 0.00123456789012345,
        "perplexity": 6.78901234567890,
        "chunks_scored": 128,
        "tokens_spent": 65_536,
        "predicted_kld": 0.123456789012345,
        "predicted_kld_standard_error": 0.0123456789012345,
        "params": {},
        "layer_types": types,
        "lease_token": study.lease.token,
        "started_at": 1.0,
    }


def test_models_and_plans(client: TestClient, settings: ServiceSettings, capfd: pytest.CaptureFixture[str]) -> None:
    path = tiny_model(settings.models[0], n_layer=4)
    (settings.models[0] / "broken.gguf").write_text("no GGUF")
    models = {Path(each["path"]).name: each for each in client.get("/api/models").json()["models"]}
    assert models[path.name]["n_layer"] == 4
    assert models["broken.gguf"]["error"]
    assert run(["plan", str(path), "--budget", "5bpw", "--json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert client.get("/api/plan", params={"model": str(path), "budget": "5bpw"}).json() == printed
    assert client.get("/api/plan", params={"model": path.name, "budget": "5bpw"}).json()["budget_bytes"] > 0
    refused = client.get("/api/plan", params={"model": str(path), "budget": "1kB"})
    assert refused.status_code == 400
    assert "below" in refused.json()["detail"]
    assert client.get("/api/plan", params={"model": str(path), "budget": "1e400"}).status_code == 400


def test_metrics(client: TestClient) -> None:
    text = client.get("/metrics").text
    assert 'layerquant_studies{state="paused"} 1' in text
    assert 'layerquant_trials_total{study="night",state="complete"} 3' in text
    assert 'layerquant_best_mean_kld{study="night"} 0.1' in text


def test_the_api_s_own_page(client: TestClient) -> None:
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page


def test_looking_again_reads_no_trial_before_another_has_ended(
    client: TestClient, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = ("/api/studies", "/api/studies/night", "/studies/night/progress", "/metrics", "/")
    first = [client.get(path).text for path in paths]
    read: list[int] = []
    for name in ("ended_trials", "light_trials", "trials"):
        whole = getattr(Store, name)
        monkeypatch.setattr(
            Store, name, lambda self, key, *more, whole=whole: read.append(key) or whole(self, key, *more)
        )
    assert [client.get(path).text for path in paths] == first
    assert read == []
    with settings.workplace.open_store() as store:
        record = store.find_study("night")
        assert record is not None
        lease = store.acquire_lease(record.id, 60)
        trial = store.start_trial(lease, origin="swap", recipe_id=1, size_bytes=90, params={})
        store.finish_trial(lease, trial.id, TrialOutcome("complete", mean_kld=0.05))
        store.release_lease(lease)
    assert client.get("/api/studies/night").json()["best"]["mean_kld"] == 0.05
    assert read != []


def test_events_tell_what_changed(client: TestClient, settings: ServiceSettings) -> None:
    here = client.app.state.service  # type: ignore[attr-defined]  # TestClient's app has no type
    assert isinstance(here, Service)
    watcher = Watcher(here, "night", 0)
    first = watcher.look()
    assert [(event, number) for event, _, number in first if event == "trial"] == [("trial", n) for n in range(4)]
    assert {event for event, _, _ in first} == {"trial", "best", "state", "progress"}
    assert watcher.look() == []
    with settings.workplace.open_store() as store:
        record = store.find_study("night")
        assert record is not None
        lease = store.acquire_lease(record.id, 60)
        recipe = store.trial(record.id, 0).recipe_id
        trial = store.start_trial(lease, origin="swap", recipe_id=recipe, size_bytes=90, params={})
        running = watcher.look()
        assert [data["state"] for event, data, _ in running if event == "trial"] == ["running"]
        store.finish_trial(lease, trial.id, TrialOutcome("complete", mean_kld=0.05))
        seen = {event: data for event, data, _ in watcher.look()}
        assert seen["trial"]["state"] == "complete"
        assert seen["best"]["trial"] == 4
        assert seen["progress"]["trials"]["complete"] == 4
        assert watcher.look() == []
        store.release_lease(lease)
