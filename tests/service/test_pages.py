"""Pages by their text: what each shows of a study, its empty and failed states, and how long a large one takes."""

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from optimizer.commands import plan
from optimizer.errors import DownloadError
from optimizer.export.layer_map import layer_map
from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import BUNDLED
from optimizer.search.at_work import AT_WORK
from optimizer.service.app import make_app
from optimizer.service.pages.compare import difference_map
from optimizer.service.pages.sensitivity_figure import MOST, sensitivity_figure
from optimizer.service.routes import models
from optimizer.service.settings import ServiceSettings
from optimizer.store import BehaviourRecord, Store, TrialOutcome
from optimizer.store.schema import Trial
from optimizer.workplace import Workplace
from tests.store.studies import new_study

DEMO = str(BUNDLED / "demo" / "model" / "demo-F16.gguf")
ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def charts(page: str, name: str = "study-data") -> dict:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_stranger_finds_the_best(client: TestClient) -> None:
    listed = client.get("/").text
    assert "night" in listed
    assert "<b>trial 1</b> 0.00 MB" in listed
    page = client.get("/studies/night").text
    assert 'id="open-best">trial 1</a>' in page
    assert "0.100000" in page
    data = charts(page)
    assert data["best"] == 1
    rows = [dict(zip(data["columns"], row, strict=True)) for row in data["rows"]]
    assert [row["kld"] for row in rows] == [0.3, 0.1, 0.2, None]
    assert rows[3]["note"] == "no memory"


def test_a_running_study_shows_its_evaluators(client: TestClient, settings: ServiceSettings) -> None:
    found = {"evaluators": 16, "machines": 3}
    with settings.workplace.open_store() as store:
        record = store.find_study("night")
        assert record is not None
        lease = store.acquire_lease(record.id, 60)
        store.update_study(lease, state="running", progress={AT_WORK: found})
        assert client.get("/api/studies/night").json()["at_work"] == found
        for path in ("/studies/night", "/studies/night/progress"):
            assert "16 evaluators on 3 machines" in client.get(path).text
        store.release_lease(lease)
    assert client.get("/api/studies/night").json()["at_work"] is None
    assert "evaluators" not in client.get("/studies/night/progress").text


def test_an_empty_folder_says_how_to_begin(tmp_path: Path) -> None:
    settings = ServiceSettings(Workplace(tmp_path / "studies"))
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8642") as client:
        page = client.get("/").text
        assert "No studies yet" in page
        assert 'href="/new"' in page
        assert "--models FOLDER" in client.get("/new").text


@pytest.mark.parametrize(
    "path", ["/studies/nobody", "/studies/night/trials/99", "/studies/night/compare?trial=77", "/new?config=../x"]
)
def test_what_is_not_there_is_a_page_with_a_way_out(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert 'role="alert"' in answer.text
    assert 'href="/"' in answer.text


def test_a_part_that_fails_is_shown_in_its_place(client: TestClient) -> None:
    answer = client.get("/studies/night/trials/99/recipe", headers={"HX-Request": "true"})
    assert answer.status_code == 200  # htmx puts no others in
    assert 'role="alert"' in answer.text
    assert "<html" not in answer.text


def test_without_its_model_a_trial_says_why_there_are_no_flags(client: TestClient) -> None:
    """This study never had one."""
    part = client.get("/studies/night/trials/1/recipe", headers={"HX-Request": "true"}).text
    assert 'role="alert"' in part
    assert "cannot be read" in part
    assert '<pre id="layer-types" tabindex="0">[[0,&#34;Q4_K&#34;]]</pre>' in part
    assert "Copy LAYER_TYPES" in part
    assert "Tensor-type file" not in part


def finish(settings: ServiceSettings, **report: object) -> None:
    with settings.workplace.open_store() as store:
        study = store.find_study("night")
        assert study is not None
        lease = store.acquire_lease(study.id, 60)
        store.update_study(lease, state="finished", target_trials=3, **report)
        store.release_lease(lease)


def test_a_finished_study_is_searched_further_from_its_page(settings: ServiceSettings) -> None:
    program = (sys.executable, "-c", "import time; time.sleep(60)")
    with TestClient(make_app(replace(settings, program=program)), base_url="http://127.0.0.1:8642") as client:
        assert 'id="action-further"' not in client.get("/studies/night").text  # paused: it is resumed
        finish(settings)
        page = client.get("/studies/night").text
        assert 'name="trials" type="number" min="4"' in page
        assert 'data-post="/api/studies/night/resume"' in page
        job = client.post("/api/studies/night/resume", json={"trials": 4, "hours": 0.5}).json()["job"]
        assert "--trials 4 --hours 0.5" in job["command"]
        assert 'id="action-stop"' in client.get("/studies/night").text
        client.post("/api/studies/night/stop", json={"at_once": True})


def test_the_list_is_sent_again_only_when_it_has_changed(
    client: TestClient, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with settings.workplace.open_store() as store:
        study = store.find_study("night")
        assert study is not None
        lease = store.acquire_lease(study.id, 60)
        store.update_study(lease, state="running")
        page = client.get("/").text
        found = re.search(r'hx-get="(/studies\?version=\w+)"', page)
        assert found is not None
        read: list[int] = []
        whole = Store.ended_trials
        monkeypatch.setattr(Store, "ended_trials", lambda self, key: read.append(key) or whole(self, key))
        assert client.get(found[1]).status_code == 204
        assert read == []  # no trial has ended: none is read
        recipe = store.trials(study.id)[0].recipe_id
        started = store.start_trial(lease, origin="mean", recipe_id=recipe, size_bytes=90, params={})
        store.finish_trial(lease, started.id, TrialOutcome("complete", mean_kld=0.05))
        fresh = client.get(found[1])
        assert fresh.status_code == 200
        assert "<b>trial 4</b>" in fresh.text
        assert read == [study.id]
        store.release_lease(lease)


def test_nothing_is_sent_while_nothing_changes(client: TestClient, settings: ServiceSettings) -> None:
    with settings.workplace.open_store() as store:
        study = store.find_study("night")
        assert study is not None
        lease = store.acquire_lease(study.id, 60)
        store.update_study(lease, state="running")
        page = client.get("/studies/night").text
        found = re.search(r'hx-get="(/studies/night/live\?version=\w+)"', page)
        assert found is not None
        assert "sse-connect" in page
        assert client.get(found[1]).status_code == 204
        recipe = store.trials(study.id)[0].recipe_id
        started = store.start_trial(lease, origin="mean", recipe_id=recipe, size_bytes=90, params={})
        store.finish_trial(lease, started.id, TrialOutcome("complete", mean_kld=0.05))
        fresh = client.get(found[1])
        assert fresh.status_code == 200
        assert charts(fresh.text)["best"] == 4
        assert 'id="headline" hx-swap-oob="true"' in fresh.text
        store.release_lease(lease)


def test_speed_is_that_of_the_answers_to_prompts(client: TestClient, settings: ServiceSettings) -> None:
    with settings.workplace.open_store() as store:
        study = store.find_study("night")
        assert study is not None
        subject = f"{store.model(study.model_id).fingerprint}:{store.recipe(store.trials(study.id)[1].recipe_id).key}"
        same = [each.number for each in store.trials(study.id) if each.recipe_id == store.trials(study.id)[1].recipe_id]
        key = store.add_settings({"any": 1})
        store.add_behaviour(BehaviourRecord(subject, "suite", "search", key, (), {}, {"tokens_per_second": 12.5}))
    data = charts(client.get("/studies/night").text)
    speeds = [dict(zip(data["columns"], row, strict=True))["speed"] for row in data["rows"]]
    assert speeds == [12.5 if number in same else None for number in range(4)]


def test_a_trial_shows_its_recipe_and_its_scores(client: TestClient) -> None:
    page = client.get("/studies/night/trials/1").text
    assert "LAYER_TYPES" in page
    assert "[[0,&#34;Q4_K&#34;]]" in page
    assert charts(page, "chart-data")["figures"]["map"]["data"][0]["text"] == [["Q4_K"]]
    failed = client.get("/studies/night/trials/3").text
    assert "no memory" in failed


def test_no_script_stands_in_a_page(client: TestClient) -> None:
    """The policy would refuse it, and a style, too."""
    for path in ("/", "/new", "/studies/night", "/studies/night/trials/1", "/studies/night/compare?trial=0&trial=1"):
        page = client.get(path).text
        scripts = re.findall(r"<script([^>]*)>", page)
        assert all("src=" in each or "application/json" in each for each in scripts), path
        assert not re.search(r"<style| style=| on[a-z]+=", page), path


def test_what_a_study_is_called_cannot_become_markup(settings: ServiceSettings) -> None:
    with settings.workplace.open_store() as store:
        study = store.find_study("night")
        assert study is not None
        recipe = store.trials(study.id)[0].recipe_id
        lease = store.acquire_lease(study.id, 60)
        started = store.start_trial(
            lease, origin="mean", recipe_id=recipe, size_bytes=90, params={}, name="</script><script>alert(1)"
        )
        store.finish_trial(lease, started.id, TrialOutcome("failed", error="<img src=x>"))
        store.release_lease(lease)
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8642") as client:
        for path in ("/studies/night", "/studies/night/trials/4", "/studies/night/compare?trial=4&trial=1"):
            page = client.get(path).text
            assert "<script>alert" not in page, path
            assert "<img" not in page, path


class TestNewSearch:
    def ask(self, client: TestClient, **values: str) -> str:
        return client.get("/new/preview", params={"model": DEMO} | values).text

    def test_sizes_come_as_one_types(self, client: TestClient) -> None:
        page = self.ask(client, budget="IQ4_XS")
        plan = client.get("/api/plan", params={"model": DEMO, "budget": "IQ4_XS"}).json()
        assert f"{plan['budget_bytes']:,} bytes" in page
        assert f"{plan['presets']['Q4_K_M']:,}" in page
        assert "Launch the search" in page

    def test_an_impossible_budget_is_refused_with_the_range(self, client: TestClient) -> None:
        page = self.ask(client, budget="1MB")
        assert 'role="alert"' in page
        assert "Possible:" in page
        assert "Launch the search" not in page

    def test_the_yaml_shown_is_what_launching_writes(self, settings: ServiceSettings) -> None:
        program = (sys.executable, "-c", "import time; time.sleep(60)")
        with TestClient(make_app(replace(settings, program=program)), base_url="http://127.0.0.1:8642") as client:
            page = self.ask(client, budget="IQ4_XS", units="groups", trials="7", rest="evaluation: {chunks: 4}")
            shown = re.search(r'<pre id="yaml"[^>]*>(.*?)</pre>', page, re.DOTALL)
            command = re.search(r'<pre id="command"[^>]*>(.*?)</pre>', page, re.DOTALL)
            assert shown is not None
            assert command is not None
            made = client.post("/api/studies", json={"yaml": shown[1]}).json()
            kept = settings.workplace.study_folder(made["study"]) / "config.yaml"
            assert kept.read_text() == shown[1].replace("demo/model/demo-F16.gguf", DEMO)
            assert made["job"]["command"] == command[1]
            waiting = client.get(f"/studies/{made['study']}").text
            assert "No trial has ended yet" in waiting
            assert 'id="action-stop"' in waiting
            client.post(f"/api/studies/{made['study']}/stop", json={"at_once": True})

    def test_a_file_outside_the_folders_is_refused(self, client: TestClient) -> None:
        assert "lies outside" in client.get("/new/preview", params={"model": "/etc/passwd"}).text

    def test_a_number_that_is_none(self, client: TestClient) -> None:
        assert "is no number" in self.ask(client, trials="many")

    def test_starts_from_a_configuration(self, client: TestClient) -> None:
        page = client.get("/new", params={"config": "demo"}).text
        assert 'value="demo/model/demo-F16.gguf"' in page
        assert "chunks: 48" in page

    def test_no_page_shows_the_machine_s_paths(
        self, settings: ServiceSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = settings.workplace.studies.parent
        monkeypatch.chdir(home)  # the folder that the service runs in
        shutil.copy(DEMO, settings.models[0] / "mine.gguf")
        (settings.models[0] / "text.txt").write_text("words")
        with TestClient(make_app(settings), base_url="http://127.0.0.1:8642") as client:
            page = client.get("/new").text
            assert 'data-value="mine.gguf"' in page
            assert '<option value="text.txt">' in page
            preview = self.ask(client, model="mine.gguf", search_text="demo/texts/search.txt", study="mine")
            assert "layerquant search studies/mine/config.yaml --study mine --studies studies" in preview
            assert "model: mine.gguf" in preview
            assert str(home) not in page + preview
            assert str(BUNDLED) not in page + preview

    def test_a_model_of_the_hub_is_planned_by_its_header(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(models, "open_model", lambda name, planning: None)
        monkeypatch.setattr(plan, "open_model", lambda name, planning: ModelFile.open(Path(DEMO), planning=True))
        page = self.ask(client, model="hf://someone/models/demo-F16.gguf", budget="IQ4_XS")
        assert "3,740,480 bytes" in page
        assert "Launch the search" in page

    def test_without_the_hub_it_is_planned_when_it_starts(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(name: str, planning: bool) -> None:
            raise DownloadError("the hub cannot be reached")

        monkeypatch.setattr(models, "open_model", away)
        page = self.ask(client, model="hf://someone/models/demo-F16.gguf")
        assert "planned when the search starts: the hub cannot be reached" in page
        assert "Launch the search" in page


def test_difference_map_counts_bits_of_the_other_against_the_first() -> None:
    first = layer_map({"blk.0.attn_v.weight": "Q4_K", "blk.1.attn_v.weight": "Q6_K"})
    other = layer_map({"blk.0.attn_v.weight": "Q8_0"})
    cells = difference_map(first, other)["data"][0]
    assert cells["z"] == [[pytest.approx(4.0), None]]
    assert cells["text"] == [["Q4_K → Q8_0", "Q6_K → absent"]]
    assert cells["zmin"] == -cells["zmax"]


def test_sensitivities_show_the_dearest_parts_once() -> None:
    rows = [
        {"unit": f"u{number % 60}", "probe_type": "Q2_K", "kld": float(number), "standard_error": None}
        for number in range(120)
    ]
    figure = sensitivity_figure([*rows, {"unit": "uniform", "probe_type": "Q2_K", "kld": 9e9, "standard_error": 1.0}])
    bars = figure["data"][0]
    assert len(bars["y"]) == MOST
    assert bars["x"][0] == 119.0
    assert "uniform" not in bars["y"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """1,000 trials x 64 layers."""
    folder = tmp_path_factory.mktemp("large")
    layers = [[number, "Q4_K_M_MIX"] for number in range(64)]
    with Workplace(folder).open_store() as store:
        fixture = new_study(store)
        model = store.find_study("night")
        assert model is not None
        types = ("Q3_K", "Q4_K", "Q5_K", "Q6_K")
        recipes = [
            store.add_recipe(
                model.model_id,
                f"r{number}",
                {
                    f"blk.{layer}.{role}.weight": types[(number + layer * place) % 4]
                    for layer in range(64)
                    for place, role in enumerate(ROLES)
                },
                plain_bytes=17_000_000_000 + number,
            ).id
            for number in range(10)
        ]
        params = {f"blk.{layer}": "Q4_K" for layer in range(64)}
        with store.writing() as session:  # one transaction: a thousand take a while
            session.add_all(
                Trial(
                    study_id=fixture.study_id, number=number, state="complete", origin="mean",
                    recipe_id=recipes[number % 10], size_bytes=17_000_000_000 + number, budget_bytes=17_100_000_000,
                    params=params, layer_types=json.dumps(layers), mean_kld=0.5 - number / 10_000, predicted_kld=0.1,
                    mean_kld_standard_error=0.01, perplexity=6.0, chunks_scored=64, tokens_spent=32_768, attempts=1,
                    lease_token=fixture.lease.token, started_at=1.0, finished_at=2.0, duration_seconds=1.0,
                )
                for number in range(1000)
            )  # fmt: skip
        store.release_lease(fixture.lease)
    settings = ServiceSettings(Workplace(folder))
    with TestClient(make_app(settings), base_url="http://127.0.0.1:8642") as client:
        yield client


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/studies/night",
        "/studies/night/trials/999",
        "/studies/night/compare?" + "&".join(f"trial={n}" for n in range(6)),
    ],
)
def test_a_thousand_trials_of_64_layers(large: TestClient, path: str) -> None:
    large.get(path)  # templates are compiled once
    started = time.process_time()
    answer = large.get(path)
    assert time.process_time() - started <= 1.0
    assert answer.status_code == 200
    for script in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', answer.text, re.DOTALL):
        assert len(script.encode()) <= 1_000_000
    assert len(answer.content) <= 1_000_000
