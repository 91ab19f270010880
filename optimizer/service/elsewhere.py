"""Where else a study is shown: its run in MLflow, its copy in optuna-dashboard, while those answer and know of it.

Their addresses are the operator's, or a search's own `tracking.mlflow`; no request names one. They are asked by the
service, a second at most each, and their answers are kept for half a minute.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlsplit
from urllib.request import OpenerDirector, ProxyHandler, Request, build_opener

from optimizer.errors import ConfigError
from optimizer.store import StudyRecord
from optimizer.tracking.names import EXPERIMENT, STUDY_TAG, study_tag

TIMEOUT_SECONDS = 3.0
KEPT_SECONDS = 30.0
MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Link:
    label: str
    url: str


def checked_address(text: str, option: str) -> str:
    """An address of a server, without a slash at its end. Raises ConfigError."""
    if not _is_address(text):
        raise ConfigError(f"{option} {text!r:.200} is no address; give one such as http://127.0.0.1:5000, no password")
    return text.rstrip("/")


class Elsewhere:
    """Safe to use from several threads. `optuna_dashboard`, `mlflow`: addresses, None where there is none."""

    def __init__(self, optuna_dashboard: str | None = None, mlflow: str | None = None) -> None:
        self._optuna_dashboard, self._mlflow = optuna_dashboard, mlflow
        self._kept: dict[int, tuple[float, tuple[Link, ...]]] = {}
        self._lock = threading.Lock()
        self._opener: OpenerDirector = build_opener(ProxyHandler({}))

    def links(self, study: StudyRecord) -> tuple[Link, ...]:
        """Nothing is raised: a server that is away, or is another, gives no link."""
        with self._lock:
            asked_at, known = self._kept.get(study.id, (float("-inf"), ()))
        if time.monotonic() - asked_at < KEPT_SECONDS:
            return known
        found = tuple(each for each in (self._try(self._run, study), self._try(self._copy, study)) if each is not None)
        with self._lock:
            self._kept[study.id] = (time.monotonic(), found)
        return found

    def _try(self, look: Callable[[StudyRecord], Link | None], study: StudyRecord) -> Link | None:
        try:
            return look(study)
        except (OSError, HTTPException, ValueError, LookupError, TypeError, AttributeError):
            return None  # away, or no such server: what it answers has another shape

    def _run(self, study: StudyRecord) -> Link | None:
        base = self._mlflow or _tracking_address(study.config)
        if base is None:
            return None
        api = f"{base}/api/2.0/mlflow"
        experiment = self._ask(f"{api}/experiments/get-by-name?experiment_name={EXPERIMENT}")["experiment"]
        number = str(experiment["experiment_id"])
        value = study_tag(study).replace("'", "\\'")
        wanted = {"experiment_ids": [number], "filter": f"tags.`{STUDY_TAG}` = '{value}'", "max_results": 1}
        run = self._ask(f"{api}/runs/search", wanted)["runs"][0]["info"]["run_id"]
        return Link("MLflow", f"{base}/#/experiments/{quote(number)}/runs/{quote(str(run))}")

    def _copy(self, study: StudyRecord) -> Link | None:
        base = self._optuna_dashboard
        if base is None:
            return None
        for each in self._ask(f"{base}/api/studies")["study_summaries"]:
            if each["study_name"] == study.name:
                return Link("optuna-dashboard", f"{base}/dashboard/studies/{int(each['study_id'])}")
        return None

    def _ask(self, url: str, body: Mapping[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(url, data, {"Content-Type": "application/json", "Accept": "application/json"})
        with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            return json.loads(answer.read(MAX_BYTES))


def _tracking_address(config: Mapping[str, Any]) -> str | None:
    """Where the search itself reported to, if that is a server."""
    named = (config.get("tracking") or {}).get("mlflow")
    return named.rstrip("/") if isinstance(named, str) and _is_address(named) else None


def _is_address(text: str) -> bool:
    """http(s) with a host, and without a password, which a link would show to everybody."""
    try:
        parts = urlsplit(text)
        readable = parts.hostname and parts.port != 0  # reading the port raises where it is no number
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(readable) and "@" not in parts.netloc and not parts.query
