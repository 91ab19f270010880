"""What the service says of studies is what the commands print."""

import json

import pytest
from fastapi.testclient import TestClient

from optimizer.cli import run
from optimizer.service.settings import ServiceSettings


def test_status_is_the_command_s(
    client: TestClient, settings: ServiceSettings, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "night", "--json", "--studies", str(settings.workplace.studies)]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert client.get("/api/studies/night").json() == printed | {"job": None}
    assert client.get("/api/studies").json() == {"studies": [printed | {"job": None}]}
    assert printed["best"]["mean_kld"] == 0.1


def test_an_unknown_study_is_a_problem(client: TestClient) -> None:
    answer = client.get("/api/studies/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "nobody" in answer.json()["detail"]


def test_an_unfinished_study_has_no_report(client: TestClient) -> None:
    assert client.get("/api/studies/night/report").status_code == 409


def test_assets_come_from_here(client: TestClient) -> None:
    assert client.get("/static/plotly.min.js").status_code == 200
    assert "htmx" in client.get("/static/htmx/htmx.min.js").text
    page = client.get("/").text
    assert "//" not in page.replace("<!doctype html>", "")


def test_health(client: TestClient) -> None:
    assert client.get("/api/health").json()["status"] == "ok"
