"""All of docker-compose.yml at work, by the very commands of the file: a search launched by the API, evaluated on the
cluster, kept in PostgreSQL, shown by MLflow, its winner taken home."""

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from optimizer.errors import LayerquantError
from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import BUNDLED
from optimizer.service.client import Client
from tests.deployment.lab import Lab
from tests.waiting import eventually

pytestmark = [
    pytest.mark.long,
    # MLflow 3.17 configures a loader that SQLAlchemy 2.1 calls deprecated; nothing here can change that.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]

SETTINGS = {
    "study": "night",
    "budget": "IQ4_XS",
    "search_text": "search.txt",
    "report_text": "report.txt",
    "sampler": "random",  # no probes: what is tested is the road, not the search
    "trials": 4,
    "evaluation": {"chunks": 4, "ctx_size": 128},
    "baselines": {"presets": False, "hybrids": False, "variants": False},
    "tracking": {"optuna": False},
}


def test_a_search_from_the_api_to_the_winner_at_home(lab: Lab, tmp_path: Path) -> None:
    (model,) = (BUNDLED / "demo" / "model").glob("*.gguf")
    shutil.copy(model, lab.models / "mine-F16.gguf")
    for text in ("search", "report"):
        shutil.copy(BUNDLED / "demo" / "texts" / f"{text}.txt", lab.models)
    for name in ("postgres", "mlflow", "scheduler", "quantizer", "evaluator", "service"):
        lab.start(name)
    assert _resources(lab) == ["{'evaluate': 1}", "{'quantize': 1}"]

    address = f"http://127.0.0.1:{lab.port('service', 8642)}"
    with closing(Client(address)) as stranger, pytest.raises(LayerquantError, match="token"):
        stranger.get("api/studies")
    with closing(Client(address, token=lab.variables["LAYERQUANT_TOKEN"])) as client:
        _search(lab, client)
        _take_home(client, tmp_path)
    for name in ("service", "evaluator", "quantizer", "scheduler", "mlflow"):
        assert not list(lab.working_folder(name).iterdir()), name  # the image's root is read-only
        assert lab.stop(name) in (0, -15, 130, 143), name
        assert "Traceback" not in lab.log(name).read_text(), name


def _resources(lab: Lab) -> list[str]:
    """What the scheduler's workers are for."""
    with urlopen(f"http://127.0.0.1:{lab.port('scheduler', 8787)}/json/identity.json") as answer:
        return sorted(str(each["resources"]) for each in json.load(answer)["workers"].values())


def _search(lab: Lab, client: Client) -> None:
    client.post("api/studies", {"config": {"model": "mine-F16.gguf"} | SETTINGS})

    def study() -> dict[str, Any]:
        found = client.get("api/studies/night")
        assert isinstance(found, dict)
        assert found["state"] not in ("failed", "interrupted"), client.text("api/studies/night/log")
        return found

    eventually(lambda: study()["trials"]["complete"] >= 1, 900, not_yet=(LayerquantError,))
    eventually(lambda: study()["state"] == "finished", 900, not_yet=(LayerquantError,))
    trials = client.get("api/studies/night/trials")["trials"]
    done = [each for each in trials if each["state"] in ("complete", "pruned")]
    assert len(done) == SETTINGS["trials"]

    # PostgreSQL has them, and no SQLite lies in the studies' folder.
    assert lab.rows("layerquant", "SELECT count(*) FROM trials") == [(len(trials),)]
    studies = lab.folder / "volume-studies"
    assert not list(studies.rglob("*.db"))
    assert yaml.safe_load((studies / "night" / "config.yaml").read_text())["execution"] == {
        "cluster": f"tcp://127.0.0.1:{lab.port('scheduler', 8786)}"
    }
    assert "1 evaluator" in (studies / "night" / "search.log").read_text()
    assert len(_resources(lab)) == 2  # neither worker was lost
    _check_mlflow(lab, client, trials)


def _check_mlflow(lab: Lab, client: Client, trials: list[dict[str, Any]]) -> None:
    from mlflow import MlflowClient

    mlflow = MlflowClient(tracking_uri=f"http://127.0.0.1:{lab.port('mlflow', 5000)}")
    experiment = mlflow.get_experiment_by_name("layerquant")
    runs = mlflow.search_runs([experiment.experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert (parent.info.run_name, parent.info.status) == ("night", "FINISHED")
    children = {int(run.data.tags["layerquant.trial_number"]): run for run in runs if run is not parent}
    assert set(children) == {each["number"] for each in trials}
    for each in trials:
        assert children[each["number"]].data.metrics.get("mean_kld") == each["mean_kld"]
    best = client.get("api/studies/night/report")["best"]["trial"]
    assert parent.data.tags["layerquant.best"] == str(best)


def _take_home(client: Client, folder: Path) -> None:
    report = client.get("api/studies/night/report")
    job = client.post("api/studies/night/exports/gguf")
    eventually(
        lambda: client.get("api/studies/night/exports")["exports"][-1]["state"] == "ended", not_yet=(LayerquantError,)
    )
    output = folder / "winner.gguf"
    n_bytes = client.download(f"api/studies/night/exports/files/{job['file']}", output)
    assert report["best"]["size_bytes"] <= n_bytes <= report["budget_bytes"]
    assert ModelFile.open(output).n_layer == report["model"]["n_layer"]
