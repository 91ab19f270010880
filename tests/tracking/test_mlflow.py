"""MLflow shows each study and trial once, however often it was away and however the process ended."""

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optimizer.store import NewEvent, TrialOutcome
from optimizer.tracking import MlflowMirror
from tests.store.studies import Fixture

# MLflow 3.17 configures a loader that SQLAlchemy 2.1 calls deprecated; nothing here can change that.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One MLflow database for all tests: making it takes seconds. Each test's study has another tag."""
    return tmp_path_factory.mktemp("mlflow")


def _mirror(study: Fixture, tracking: Path) -> MlflowMirror:
    return MlflowMirror(study.store, folder=tracking)


def runs(study: Fixture, tracking_uri: str) -> tuple[list, list]:
    """The study's parent and child runs."""
    from mlflow import MlflowClient

    record = study.store.study(study.study_id)
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("layerquant").experiment_id
    parents = client.search_runs([experiment], f"tags.`layerquant.study` = '{record.name}@{record.created_at:.3f}'")
    children = [
        run
        for parent in parents
        for run in client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    ]
    return parents, sorted(children, key=lambda run: int(run.data.tags["layerquant.trial_number"]))


def _search(study: Fixture, trials: int = 2) -> None:
    study.store.update_study(study.lease, state="running", events=[NewEvent("study.started")])
    for number in range(trials):
        trial = study.start(name="IQ4_XS" if number == 0 else None, layer_types='[[0,"Q4_K_M"]]')
        study.finish(trial, 0.5 / (number + 1))


def test_down_then_up_then_killed_between_sending_and_marking(study: Fixture, tracking: Path) -> None:
    _search(study)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, never listened on: refused
        down = MlflowMirror(study.store, f"http://127.0.0.1:{closed.getsockname()[1]}")
        down.start()
        while down.last_error is None:  # the first try imports MLflow
            time.sleep(0.05)
        began = time.monotonic()
        study.finish(study.start(), 0.1)
        assert time.monotonic() - began < 5
        assert down.catch_up(0.2) == 4
        down.stop()
    assert "refused" in (down.last_error or "")

    mirror = _mirror(study, tracking)
    assert mirror.catch_up(120) == 0
    mirror.stop()
    parents, children = runs(study, mirror.tracking_uri)
    assert [run.info.run_name for run in parents] == ["night"]
    assert [run.info.run_name for run in children] == ["0 IQ4_XS", "1", "2"]
    assert [run.data.metrics["mean_kld"] for run in children] == [0.5, 0.25, 0.1]
    assert children[0].data.params == {}
    assert children[0].data.tags["layerquant.layer_types"] == '[[0,"Q4_K_M"]]'
    assert children[0].info.status == "FINISHED"

    _forget_deliveries(study)
    again = _mirror(study, tracking)
    assert again.catch_up(120) == 0
    again.stop()
    twice_parents, twice = runs(study, mirror.tracking_uri)
    assert len(twice_parents) == 1
    assert [run.info.run_id for run in twice] == [run.info.run_id for run in children]


def test_what_a_finished_study_shows(study: Fixture, tracking: Path, tmp_path: Path) -> None:
    _search(study, 1)
    store = study.store
    kept_out = TrialOutcome("complete", mean_kld=0.1, metrics={"kept_out": "never ends on p1"})
    store.finish_trial(
        study.lease, (trial := study.start()).id, kept_out, events=[NewEvent("trial.finished", trial_id=trial.id)]
    )
    failed = study.start()
    store.finish_trial(
        study.lease,
        failed.id,
        TrialOutcome("failed", error="GGML_ASSERT"),
        events=[NewEvent("trial.finished", trial_id=failed.id)],
    )
    (tmp_path / "card.md").write_text("a card")
    store.update_study(
        study.lease,
        state="finished",
        report={"noise_floor_kld": 1e-6},
        events=[
            NewEvent("artifact", {"name": "winner.txt", "text": "LAYER_TYPES"}),
            NewEvent("artifact", {"path": str(tmp_path / "card.md")}),
            NewEvent("artifact", {"path": str(tmp_path / "deleted.md")}),
            NewEvent("something of a later version"),
            NewEvent("study.finished"),
        ],
    )
    mirror = _mirror(study, tracking)
    assert mirror.catch_up(120) == 0
    mirror.stop()
    (parent,), children = runs(study, mirror.tracking_uri)
    assert parent.info.status == "FINISHED"
    assert (parent.data.tags["layerquant.best"], parent.data.metrics["mean_kld"]) == ("0", 0.5)
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED", "FAILED"]
    assert children[2].data.tags["layerquant.error"] == "GGML_ASSERT"
    artifacts = Path(parent.info.artifact_uri.removeprefix("file://"))
    assert artifacts.is_relative_to(tracking / "mlartifacts")
    assert sorted(path.name for path in artifacts.iterdir()) == ["card.md", "config.json", "report.json", "winner.txt"]


def test_an_event_that_mlflow_refuses_holds_up_no_other(study: Fixture, tracking: Path) -> None:
    study.store.update_study(study.lease, events=[NewEvent("artifact", {"name": "../../escape", "text": "x"})])
    _search(study, 1)
    mirror = _mirror(study, tracking)
    assert mirror.catch_up(120) == 0
    mirror.stop()
    assert len(runs(study, mirror.tracking_uri)[1]) == 1
    (refused,) = study.store.pending_events()
    assert refused.kind == "artifact"
    assert refused.last_error
    assert refused.attempts == 3


def test_two_processes_do_not_feed_at_once(study: Fixture, tracking: Path) -> None:
    _search(study, 1)
    token = study.store.claim("mlflow", 60)
    assert token is not None
    mirror = _mirror(study, tracking)
    assert mirror.catch_up(0.5) == 2
    study.store.release_claim("mlflow", token)
    assert mirror.catch_up(120) == 0
    mirror.stop()
    assert study.store.claim("mlflow", 60) is not None


def test_mlflow_is_not_imported_until_there_is_something_to_tell() -> None:
    script = (
        "import sys, optimizer.store, optimizer.tracking; sys.exit('mlflow' in sys.modules or 'optuna' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def _forget_deliveries(study: Fixture) -> None:
    """As if the process had been killed after sending, before marking."""
    with study.store.writing() as session:
        session.connection().exec_driver_sql("UPDATE outbox SET delivered_at = NULL")
