"""`layerquant resume`: which settings a study goes on with, and where."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optimizer.cli import run
from optimizer.commands import resume as command
from optimizer.config import SearchConfig
from optimizer.settings import ExecutionSettings
from optimizer.workplace import Workplace

CLUSTER, PLAIN = "tls://10.0.0.1:8786", "tcp://10.0.0.2:8786"
CERTIFICATES = {"tls_ca": "ca.pem", "tls_cert": "cert.pem", "tls_key": "key.pem"}
OPTIONS = ["--tls-ca", "ca.pem", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]
SECURE = {"cluster": CLUSTER, **CERTIFICATES}
Resumed = Callable[..., SearchConfig]


@pytest.fixture
def resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resumed:
    """The settings that a search of `night`, kept with `execution`, is continued with by these options."""
    seen: list[SearchConfig] = []
    monkeypatch.setattr(command, "run_study", lambda config, *_, **__: seen.append(config))

    def call(execution: dict[str, Any], *options: str) -> SearchConfig:
        with Workplace(tmp_path / "studies").open_store() as store:
            model = store.add_model(
                fingerprint="f", name=None, path="tiny.gguf", architecture="qwen3", n_layer=2, size_bytes=1000
            )
            kept = SearchConfig.load(None, {"model": "tiny.gguf", "trials": 9, "execution": execution})
            store.create_study("night", model.id, kept.model_dump(mode="json"), seed=0)
        assert run(["resume", "night", "--studies", str(tmp_path / "studies"), *options]) == 0
        return seen[-1]

    return call


@pytest.mark.parametrize(
    ("kept", "options", "expected"),
    [
        ({"round": 4, "workers": 2}, [], {"round": 4, "workers": 2}),
        ({"round": 4}, ["--workers", "3"], {"round": 4, "workers": 3}),
        ({}, ["--cluster", CLUSTER, *OPTIONS], SECURE),
        (SECURE, [], SECURE),
        (SECURE, ["--tls-key", "new.pem"], SECURE | {"tls_key": "new.pem"}),
        (SECURE, ["--cluster", "tls://10.0.0.9:8786"], SECURE | {"cluster": "tls://10.0.0.9:8786"}),
        ({"round": 4, **SECURE}, ["--cluster", PLAIN], {"round": 4, "cluster": PLAIN}),
        ({"round": 4, **SECURE}, ["--workers", "2"], {"round": 4, "workers": 2}),
        (SECURE, ["--workers", "2", "--cluster", PLAIN], {"workers": 2, "cluster": PLAIN}),
    ],
)
def test_where_a_study_goes_on(
    resumed: Resumed, kept: dict[str, Any], options: list[str], expected: dict[str, Any]
) -> None:
    assert resumed(kept, *options).execution == ExecutionSettings(**expected)


def test_everything_else_stays_as_it_was(resumed: Resumed) -> None:
    found = resumed({}, "--hours", "2")
    assert (found.study, found.trials, found.hours) == ("night", 9, 2.0)


def test_in_the_background(resumed: Resumed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resumed({})
    started: list[list[str]] = []

    class Child:
        pid = 7

        def __init__(self, words: list[str], **_: object) -> None:
            started.append(words)

    words = ["resume", "night", "--studies", str(tmp_path / "studies"), "--trials", "12", "--detach"]
    monkeypatch.setattr(sys, "argv", ["layerquant", *words])
    monkeypatch.setattr(subprocess, "Popen", Child)
    assert run(words) == 0
    assert [each[3:] for each in started] == [words[:-1]]
    assert (tmp_path / "studies" / "night" / "search.log").exists()


def test_in_the_background_there_is_nothing_to_print(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["resume", "night", "--studies", str(tmp_path), "--detach", "--json"]) == 2
    assert "leave one of them out" in capsys.readouterr().err
