"""MLflow as docker-compose.yml starts it, over PostgreSQL: what it keeps of a search, and what its absence costs."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from optimizer.store import NewEvent, Store
from optimizer.tracking import MlflowMirror
from optimizer.tracking.mirrors import Mirrors
from tests.deployment.lab import Lab
from tests.proxy import Proxy
from tests.store.studies import Fixture, new_study
from tests.tracking.test_mlflow import runs
from tests.waiting import eventually

pytestmark = [
    pytest.mark.long,
    # MLflow 3.17 configures a loader that SQLAlchemy 2.1 calls deprecated; nothing here can change that.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture(scope="module")
def server(lab: Lab) -> Lab:
    lab.start("postgres")
    lab.start("mlflow")
    return lab


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Fixture]:
    with Store.open(tmp_path / "studies") as store:
        yield new_study(store)


def finish_one(study: Fixture, kld: float) -> float:
    """Ends a trial as a search does; seconds that it took."""
    began = time.monotonic()
    study.finish(study.start(layer_types='[[0,"Q4_K_M"]]'), kld)
    return time.monotonic() - began


def test_a_server_that_is_cut_and_stalls_gets_everything_once(
    server: Lab, study: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stalled request is given up after 15 seconds, twice; less here, so that the test need not wait a minute.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with Proxy(server.port("mlflow", 5000)) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{proxy.port}")
        study.store.update_study(study.lease, state="running", events=[NewEvent("study.started")])
        with Mirrors(study.store, server.folder, study.study_id, {}, optuna=False) as copies:
            (mirror,) = copies._mirrors
            assert isinstance(mirror, MlflowMirror)
            finish_one(study, 0.5)
            copies.notify()
            eventually(lambda: mirror.pending() == 0)

            proxy.stall()
            stalled = [finish_one(study, kld) for kld in (0.4, 0.3)]
            copies.notify()
            eventually(lambda: mirror.last_error is not None)
            proxy.flow()
            assert mirror.catch_up(60) == 0

            proxy.cut()
            cut = [finish_one(study, kld) for kld in (0.2, 0.1)]
            copies.notify()
            eventually(lambda: mirror.last_error is not None)
            proxy.mend()
            assert mirror.catch_up(60) == 0
        assert max(stalled + cut) < 5  # none waited for the server: a request alone takes longer to be given up

    parents, children = runs(study, f"http://127.0.0.1:{server.port('mlflow', 5000)}")
    assert len(parents) == 1
    assert [run.data.metrics["mean_kld"] for run in children] == [0.5, 0.4, 0.3, 0.2, 0.1]
    assert {run.info.status for run in children} == {"FINISHED"}


def test_artifacts_go_through_the_server_into_its_volume(server: Lab, study: Fixture, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    address = f"http://127.0.0.1:{server.port('mlflow', 5000)}"
    started = [NewEvent("study.started"), NewEvent("artifact", {"name": "a.txt", "text": "x"})]
    study.store.update_study(study.lease, state="running", events=started)
    finish_one(study, 0.5)
    mirror = MlflowMirror(study.store, address)
    assert mirror.catch_up(120) == 0
    mirror.stop()
    (parent,), (child,) = runs(study, address)
    client = MlflowClient(tracking_uri=address)
    assert sorted(each.path for each in client.list_artifacts(parent.info.run_id)) == ["a.txt", "config.json"]
    fetched = client.download_artifacts(child.info.run_id, "layer_types.txt", str(tmp_path))
    assert Path(fetched).read_text() == '[[0,"Q4_K_M"]]\n'
    assert parent.info.artifact_uri.startswith("mlflow-artifacts:")
    kept = {path.name for path in (server.folder / "volume-artifacts").rglob("*") if path.is_file()}
    assert {"a.txt", "config.json", "layer_types.txt"} <= kept
    assert not list(server.working_folder("mlflow").iterdir())  # the image's root is read-only
    rows = server.rows("mlflow", "SELECT status FROM runs WHERE name = 'night'")
    assert set(rows) == {("RUNNING",)}
