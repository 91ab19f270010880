"""A service with a cluster: its searches evaluate there, and no request says where that is."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import yaml
from fastapi.testclient import TestClient

from optimizer.service.app import make_app
from optimizer.service.settings import ServiceSettings
from optimizer.settings import ExecutionSettings
from tests.models import tiny_model
from tests.service.test_launching import TEXT, config

SCHEDULER = "tls://10.0.0.1:8786"
SECURE = ExecutionSettings(cluster=SCHEDULER, tls_ca="/tls/ca.pem", tls_cert="/tls/cert.pem", tls_key="/tls/key.pem")


@pytest.fixture(params=[True, False], ids=["cluster", "alone"])
def clustered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def launcher(settings: ServiceSettings, clustered: bool) -> Iterator[TestClient]:
    """A service whose searches write down how they were called."""
    tiny_model(settings.models[0], n_layer=4).rename(settings.models[0] / "tiny.gguf")
    for name in ("search", "report"):
        (settings.models[0] / f"{name}.txt").write_text(TEXT.format(name) * 400)
    given = replace(
        settings,
        program=(sys.executable, "-c", "import sys; print(sys.argv[1:])"),
        execution=SECURE if clustered else ExecutionSettings(),
    )
    with TestClient(make_app(given), base_url="http://127.0.0.1") as client:
        yield client


def test_searches_go_to_the_services_cluster(launcher: TestClient, settings: ServiceSettings, clustered: bool) -> None:
    made = launcher.post("/api/studies", json={"config": config(study="fresh", execution={"round": 4})})
    assert made.status_code == 201, made.text
    written = yaml.safe_load((settings.workplace.studies / "fresh" / "config.yaml").read_text())
    expected = SECURE.model_dump(exclude_defaults=True) if clustered else {}
    assert written["execution"] == {"round": 4, **expected}


def test_a_resumed_study_goes_where_the_cluster_is_now(launcher: TestClient, clustered: bool) -> None:
    words = launcher.post("/api/studies/night/resume").json()["job"]["command"].split()
    kept = SECURE.model_dump(exclude_defaults=True) if clustered else {}
    found = {name: words.index(name) for name in ("--cluster", "--tls-ca", "--tls-cert", "--tls-key") if name in words}
    assert {name[2:].replace("-", "_"): words[place + 1] for name, place in found.items()} == kept


@pytest.mark.parametrize("key", ["cluster", "tls_ca", "tls_cert", "tls_key"])
def test_a_request_names_no_cluster(launcher: TestClient, key: str) -> None:
    asked = config(study="fresh", execution={key: "tcp://elsewhere:1"})
    refused = launcher.post("/api/studies", json={"config": asked})
    assert refused.status_code == 403
    assert "serve --cluster" in refused.json()["detail"]
