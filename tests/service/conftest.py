"""A service over a folder with one study, asked in-process."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from optimizer.cli import run
from optimizer.service.app import make_app
from optimizer.service.client import Client
from optimizer.service.settings import ServiceSettings
from optimizer.store import TrialOutcome
from optimizer.workplace import Workplace
from tests.search.searches import Search, prepare
from tests.store.studies import new_study

URL = "http://127.0.0.1:8642"
Call = Callable[..., tuple[int, str, str]]
Asked = Callable[[TestClient], Call]


@pytest.fixture
def settings(tmp_path: Path) -> ServiceSettings:
    """`night`: a paused study of three complete trials and a failed one."""
    folder = tmp_path / "studies"
    folder.mkdir()
    models = tmp_path / "models"
    models.mkdir()
    with Workplace(folder).open_store() as store:
        study = new_study(store)
        for kld in (0.3, 0.1, 0.2):
            study.finish(study.start(layer_types='[[0,"Q4_K"]]'), kld)
        store.finish_trial(study.lease, study.start().id, TrialOutcome("failed", error="no memory"))
        store.update_study(study.lease, state="paused")
        store.release_lease(study.lease)
    return ServiceSettings(Workplace(folder), (models,))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.gguf, its texts, and `study`, searched to its end with the fake evaluator. Read only."""
    folder = tmp_path_factory.mktemp("finished")
    assert Search(folder, prepare(folder, trials=6, budget="5bpw", units="layers")).run().finished
    return folder


@pytest.fixture
def client(settings: ServiceSettings) -> Iterator[TestClient]:
    with TestClient(make_app(settings), base_url=URL) as client:
        yield client


@pytest.fixture
def launcher_of_true(settings: ServiceSettings) -> Iterator[TestClient]:
    """A service whose searches do nothing and end well."""
    program = (shutil.which("true") or "true",)
    with TestClient(make_app(replace(settings, program=program)), base_url=URL) as client:
        yield client


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Asked:
    """Makes the command line talk to the service of a test client."""
    monkeypatch.setattr(Client, "close", lambda _: None)

    def of(service: TestClient) -> Call:
        def made(url: str) -> Client:
            found = Client(url)
            found._http.close()
            found._http = service
            return found

        monkeypatch.setattr(Client, "of_environment", made)

        def run_it(*words: str) -> tuple[int, str, str]:
            capfd.readouterr()
            code = run([*words, "--server", URL])
            seen = capfd.readouterr()
            return code, seen.out, seen.err

        return run_it

    return of
