"""docs/deployment.md: its first lines, run as they stand with a `docker` that writes down what it is asked."""

import os
import re
import subprocess
from pathlib import Path

from tests.deployment.compose import EXAMPLE, ROOT, read_compose

PAGE = (ROOT / "docs" / "deployment.md").read_text()


def test_the_first_lines_make_an_env_file_that_compose_takes(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text(EXAMPLE.read_text())
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho "$@" >> asked\n')
    docker.chmod(0o755)
    lines = PAGE.partition("```sh\n")[2].partition("```")[0]
    shown = subprocess.run(
        ["/bin/bash", "-euc", lines],
        cwd=tmp_path,
        env={"HOME": "/home/someone", "PATH": f"{docker.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    made = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines() if re.match(r"\w", line))
    secrets = [value for name, value in made.items() if name.endswith(("PASSWORD", "TOKEN"))]
    assert len(set(secrets)) == 4
    assert all(re.fullmatch("[a-z0-9]{32}", secret) for secret in secrets)
    assert made["MODELS_DIR"] == "/home/someone/models"
    assert shown == f"LAYERQUANT_TOKEN={made['LAYERQUANT_TOKEN']}\n"
    assert ((tmp_path / ".env").stat().st_mode & 0o777) == 0o600
    assert (tmp_path / "asked").read_text() == "compose up --detach --build --wait\n"
    read_compose(made)  # nothing is missing


def test_every_service_volume_and_file_of_the_lab_is_described() -> None:
    made = dict(line.split("=", 1) for line in EXAMPLE.read_text().splitlines() if re.match(r"\w", line))
    tree = read_compose({name: value or "x" for name, value in made.items()})
    assert set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE)) == {*tree["services"], *tree["volumes"]}
    for path in re.findall(r"docker/[\w-]+\.\w+", PAGE):
        assert (ROOT / path).is_file()
