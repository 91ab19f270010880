"""Links to other servers that show a study, against small servers of this test."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from fastapi.testclient import TestClient

from optimizer.errors import ConfigError
from optimizer.service.app import make_app
from optimizer.service.elsewhere import Elsewhere, Link, checked_address
from optimizer.service.settings import ServiceSettings
from optimizer.store import StudyRecord
from optimizer.tracking.names import study_tag


class Answers(BaseHTTPRequestHandler):
    """MLflow and optuna-dashboard in one, as far as they are asked; `known` is the study that both have."""

    known: StudyRecord
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/api/studies"):
            found = {"study_summaries": [{"study_id": 4, "study_name": "other"}]}
            found["study_summaries"].append({"study_id": 7, "study_name": self.known.name})
            self._say(found)
        elif self.path.startswith("/api/2.0/mlflow/experiments/get-by-name"):
            self._say({"experiment": {"experiment_id": "3"}})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        self.asked.append(self.path)
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        mine = f"= '{study_tag(self.known)}'" in wanted["filter"]
        self._say({"runs": [{"info": {"run_id": "ab12"}}]} if mine else {})

    def _say(self, found: dict[str, Any]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def study(settings: ServiceSettings) -> StudyRecord:
    with settings.workplace.open_store() as store:
        found = store.find_study("night")
    assert found is not None
    return found


@pytest.fixture
def server(study: StudyRecord) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Known", (Answers,), {"known": study, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", asked
        made.shutdown()
        thread.join()


def test_servers_that_know_the_study_are_linked_to_and_asked_once(
    server: tuple[str, list[str]], study: StudyRecord
) -> None:
    address, asked = server
    elsewhere = Elsewhere(address, address)
    expected = (
        Link("MLflow", f"{address}/#/experiments/3/runs/ab12"),
        Link("optuna-dashboard", f"{address}/dashboard/studies/7"),
    )
    assert elsewhere.links(study) == expected
    before = len(asked)
    assert elsewhere.links(study) == expected
    assert len(asked) == before


def test_a_server_without_the_study_a_stranger_and_one_that_is_away_give_no_link(
    server: tuple[str, list[str]], study: StudyRecord
) -> None:
    address, _ = server
    assert Elsewhere(address, address).links(replace(study, name="unknown")) == ()
    assert Elsewhere(f"{address}/else", f"{address}/else").links(study) == ()
    assert Elsewhere("http://127.0.0.1:9", "http://127.0.0.1:9").links(study) == ()
    assert Elsewhere().links(study) == ()


def test_the_study_s_page_asks_for_them_apart(settings: ServiceSettings, server: tuple[str, list[str]]) -> None:

    address, asked = server
    known = replace(settings, mlflow=address, optuna_dashboard=address)
    with TestClient(make_app(known), base_url="http://127.0.0.1:8642") as client:
        assert 'hx-get="/studies/night/elsewhere"' in client.get("/studies/night").text
        assert asked == []
        part = client.get("/studies/night/elsewhere").text
        assert f'href="{address}/dashboard/studies/7"' in part
        assert ">MLflow</a>" in part


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1:5000", "javascript:alert(1)", "http://", "http://me:secret@host", "http://host:port"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--mlflow"):
        checked_address(text, "--mlflow")


def test_an_address_loses_its_last_slash() -> None:
    assert checked_address("http://127.0.0.1:5000/", "--mlflow") == "http://127.0.0.1:5000"
