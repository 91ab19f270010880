"""How studies and trials look in MLflow. Importing this module imports MLflow, which takes seconds."""

import os
from typing import Any
from urllib.parse import unquote, urlparse

# MLflow reads these when it is imported, and later; what the user has set stays.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output belongs to --json
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the outbox itself tries again
}.items():
    os.environ.setdefault(_name, _value)

import logging  # noqa: E402
from pathlib import Path  # noqa: E402

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import Metric, Run, RunTag  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402

from optimizer.search.best import reported_best  # noqa: E402
from optimizer.store import EventRecord, Store, StudyRecord, TrialRecord  # noqa: E402
from optimizer.tracking.names import EXPERIMENT, STUDY_TAG, study_tag  # noqa: E402

_TAG_LENGTH = 4000
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


class MlflowRuns:
    """Makes or finds the runs that events are about. Doing it twice for one event changes nothing."""

    def __init__(self, store: Store, tracking_uri: str, artifact_uri: str | None) -> None:
        """`artifact_uri`: where artifacts of a new experiment go; None leaves it to the server."""
        for quiet in ("mlflow", "alembic"):
            logging.getLogger(quiet).setLevel(logging.WARNING)
        # urllib3 would write every retry to the terminal; the mirror tells it once.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        if artifact_uri is not None:
            Path(unquote(urlparse(artifact_uri).path)).mkdir(parents=True, exist_ok=True)
        self._store = store
        self._client = MlflowClient(tracking_uri=tracking_uri)
        self._experiment = self._find_or_make_experiment(artifact_uri)
        self._parents: dict[int, str] = {}

    def check_reachable(self) -> None:
        """Raises what MLflow raises when it is away."""
        self._client.search_experiments(max_results=1)

    def deliver(self, event: EventRecord) -> None:
        study = self._store.study(event.study_id)
        parent = self._parent(study)
        trial = None if event.trial_id is None else self._store.trial_by_id(event.trial_id)
        if event.kind == "study.started":
            self._client.update_run(parent, status="RUNNING")  # again, where a finished study is continued
        elif event.kind == "study.finished":
            self._end_study(study, parent)
        elif event.kind == "trial.finished" and trial is not None:
            self._end_trial(study, trial, parent)
        elif event.kind == "artifact":
            self._add_artifact(parent if trial is None else self._child(study, trial, parent).info.run_id, event)

    def _end_study(self, study: StudyRecord, parent: str) -> None:
        best = reported_best(self._store, study)
        at = _milliseconds(study.finished_at)
        if best is not None:
            metrics = [Metric(name, value, at, 0) for name, value in _numbers(best).items()]
            self._client.log_batch(parent, metrics=metrics, tags=[RunTag("layerquant.best", str(best.number))])
        if study.report is not None:
            self._client.log_dict(parent, dict(study.report), "report.json")
        self._client.set_terminated(parent, status="FINISHED", end_time=at)

    def _end_trial(self, study: StudyRecord, trial: TrialRecord, parent: str) -> None:
        run = self._child(study, trial, parent)
        at = _milliseconds(trial.finished_at)
        metrics = [Metric(name, value, at, 0) for name, value in _numbers(trial).items()]
        tags = [RunTag(f"layerquant.{name}", value[:_TAG_LENGTH]) for name, value in _words(trial).items()]
        self._client.log_batch(run.info.run_id, metrics=metrics, tags=tags)
        if trial.layer_types is not None:
            self._client.log_text(run.info.run_id, trial.layer_types + "\n", "layer_types.txt")
        self._client.set_terminated(run.info.run_id, status=_STATUS[trial.state], end_time=at)

    def _add_artifact(self, run_id: str, event: EventRecord) -> None:
        name = str(event.payload.get("name", "artifact"))
        if "text" in event.payload:
            self._client.log_text(run_id, str(event.payload["text"]), name)
        elif Path(str(event.payload.get("path", ""))).is_file():  # else deleted meanwhile: nothing to tell
            self._client.log_artifact(run_id, str(event.payload["path"]))

    def _parent(self, study: StudyRecord) -> str:
        known = self._parents.get(study.id)
        if known is None:
            model = self._store.model(study.model_id)
            tags = {
                STUDY_TAG: study_tag(study),
                "layerquant.model": model.name or model.path,
                "layerquant.model_fingerprint": model.fingerprint,
                "layerquant.seed": str(study.seed),
            }
            run = self._find_or_make(STUDY_TAG, study.name, tags, study.created_at)
            if not self._client.list_artifacts(run.info.run_id):
                self._client.log_dict(run.info.run_id, dict(study.config), "config.json")
            known = self._parents[study.id] = run.info.run_id
        return known

    def _child(self, study: StudyRecord, trial: TrialRecord, parent: str) -> Run:
        tags = {
            "mlflow.parentRunId": parent,
            "layerquant.trial": f"{study_tag(study)}/{trial.number}",
            "layerquant.trial_number": str(trial.number),
        }
        name = f"{trial.number} {trial.name}" if trial.name else str(trial.number)
        return self._find_or_make("layerquant.trial", name, tags, trial.started_at)

    def _find_or_make(self, tag: str, name: str, tags: dict[str, str], started_at: float) -> Run:
        value = tags[tag].replace("'", "\\'")
        found = self._client.search_runs([self._experiment], f"tags.`{tag}` = '{value}'", max_results=1)
        if found:
            run: Run = found[0]
            return run
        return self._client.create_run(self._experiment, _milliseconds(started_at), tags, run_name=name)

    def _find_or_make_experiment(self, artifact_uri: str | None) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is None:
            try:
                made: str = self._client.create_experiment(EXPERIMENT, artifact_location=artifact_uri)
                return made
            except MlflowException:
                # Another process made it in between.
                found = self._client.get_experiment_by_name(EXPERIMENT)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


def _numbers(trial: TrialRecord) -> dict[str, float]:
    values: dict[str, Any] = {
        "size_bytes": trial.size_bytes,
        "mean_kld": trial.mean_kld,
        "mean_kld_standard_error": trial.mean_kld_standard_error,
        "perplexity": trial.perplexity,
        "predicted_kld": trial.predicted_kld,
        "chunks_scored": trial.chunks_scored,
        "tokens_spent": trial.tokens_spent,
        "duration_seconds": trial.duration_seconds,
    }
    values |= dict(trial.metrics or {})
    return {name: float(value) for name, value in values.items() if isinstance(value, int | float)}


def _words(trial: TrialRecord) -> dict[str, str]:
    values = {
        "state": trial.state,
        "origin": trial.origin,
        "baseline": trial.name,
        "layer_types": trial.layer_types,
        "budget_bytes": None if trial.budget_bytes is None else str(trial.budget_bytes),
        "error": trial.error,
    }
    return {name: value for name, value in values.items() if value}


def _milliseconds(seconds: float | None) -> int:
    return int((seconds or 0.0) * 1000)
