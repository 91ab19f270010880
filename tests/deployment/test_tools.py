"""docker-compose.yml and the Dockerfiles before Compose's and hadolint's own eyes (both from the index; no engine)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.compose import COMPOSE_FILE, ROOT, SEVERAL_MACHINES, filled_example, read_compose
from tests.deployment.test_images import DOCKERFILES

PLACES = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def program(name: str) -> str:
    found = shutil.which(name, path=PLACES)
    assert found is not None, f"{name} is missing; it comes with the dependency group `dev`"
    return found


def compose_reads(environment: dict[str, str], profile: str, several_machines: bool) -> dict[str, Any]:
    """What `docker compose config` makes of the file."""
    words = [program("docker-compose"), "--file", str(COMPOSE_FILE), "--env-file", os.devnull, "--profile", profile]
    words += ["--file", str(SEVERAL_MACHINES)] if several_machines else []
    ended = subprocess.run(
        [*words, "config", "--format", "json"],
        env={"PATH": PLACES} | environment,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return dict(json.loads(ended.stdout))


@pytest.mark.parametrize("several_machines", [False, True])
@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_compose_accepts_the_file_and_reads_it_as_the_tests_do(
    profile: str, several_machines: bool, tmp_path: Path
) -> None:
    environment = filled_example(tmp_path) | {"COMPOSE_PROFILES": ""}
    theirs = compose_reads(environment, profile, several_machines)
    ours = read_compose(environment, several_machines=several_machines)
    evaluator = {"cpu": "evaluator", "gpu": "evaluator-gpu"}[profile]
    assert set(theirs["services"]) == {"postgres", "mlflow", "scheduler", "quantizer", evaluator, "service"}
    for name, service in theirs["services"].items():
        mine = ours["services"][name]
        assert service["image"] == mine["image"]
        assert service.get("command") == mine.get("command")
        assert service.get("environment") == mine.get("environment")
        assert [word.replace("$$", "$") for word in service["healthcheck"]["test"]] == mine["healthcheck"]["test"]
        assert {each: how["condition"] for each, how in service.get("depends_on", {}).items()} == {
            each: how["condition"] for each, how in mine.get("depends_on", {}).items()
        }
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
        assert len(service.get("volumes", [])) == len(mine.get("volumes", []))


def test_compose_refuses_to_start_without_secrets(tmp_path: Path) -> None:
    environment = filled_example(tmp_path) | {"LAYERQUANT_TOKEN": ""}
    ended = subprocess.run(
        [program("docker-compose"), "--file", str(COMPOSE_FILE), "--env-file", os.devnull, "config", "--quiet"],
        env={"PATH": PLACES} | environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    assert "LAYERQUANT_TOKEN is missing a value: a secret" in ended.stderr


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(dockerfile: Path) -> None:
    ended = subprocess.run([program("hadolint"), "--no-color", dockerfile], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, "")
