"""Where copies go, and how long a search's end waits for them."""

import time
from pathlib import Path

import pytest

from optimizer.tracking import mirrors
from optimizer.tracking.background import BackgroundMirror
from optimizer.tracking.mirrors import AWAY_SECONDS, CATCH_UP_SECONDS, Mirrors, tracking_uri
from tests.store.studies import Fixture


@pytest.mark.parametrize(
    ("setting", "environment", "uri"),
    [
        ("default", "", None),
        ("default", "http://mlflow:5000", "http://mlflow:5000"),
        ("sqlite:///mine.db", "http://mlflow:5000", "sqlite:///mine.db"),
    ],
)
def test_the_environment_names_the_default(
    setting: str, environment: str, uri: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment)
    assert tracking_uri(setting) == uri


@pytest.mark.parametrize("away", [False, True])
def test_the_end_waits_less_for_who_is_known_to_be_away(
    away: bool, study: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(BackgroundMirror, "catch_up", lambda mirror, seconds: waited.append(seconds) or 0)
    monkeypatch.setattr(mirrors.MlflowMirror, "_work", _refused if away else lambda mirror: False)
    with Mirrors(study.store, tmp_path, study.study_id, {}, mlflow="http://mlflow:5000", optuna=False) as copies:
        (mirror,) = copies._mirrors
        until = time.monotonic() + 20
        while away and mirror.last_error is None:
            assert time.monotonic() < until
            time.sleep(0.01)
    assert waited == [AWAY_SECONDS if away else CATCH_UP_SECONDS]


def _refused(mirror: BackgroundMirror) -> bool:
    raise ConnectionRefusedError("nobody listens")
