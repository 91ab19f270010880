"""The Dockerfiles: built in stages from pinned images, run as nobody in particular, with all that the package needs."""

import os
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.deployment.compose import ROOT, filled_example, read_compose, read_example

DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
HEALTHY = ROOT / "docker" / "healthy"


@pytest.fixture(params=DOCKERFILES, ids=lambda path: path.name)
def instructions(request: pytest.FixtureRequest) -> list[str]:
    """One line each, comments left out."""
    text = re.sub(r"^#.*\n", "", request.param.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line for line in text.splitlines() if line]


def test_there_is_one_for_each_kind_of_machine() -> None:
    assert [path.name for path in DOCKERFILES] == ["cpu.Dockerfile", "cuda.Dockerfile"]


def test_stages_start_from_one_version_and_end_as_a_user(instructions: list[str]) -> None:
    images = [line.split()[1] for line in instructions if line.startswith("FROM ")]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w./]+:\d+\.\d+\.\d+-[\w.-]+", image) for image in images)
    assert [line for line in instructions if line.startswith("USER ")] == ["USER 10001:10001"]
    final = instructions[instructions.index(f"FROM {images[1]}") :]
    assert not any("build-essential" in line or "apt-get upgrade" in line for line in final)


def test_what_the_package_is_made_of_is_copied(instructions: list[str]) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "pyproject.toml", "uv.lock", "tools"}
    needed |= {settings["project"]["readme"], *settings["project"]["license-files"]}
    copied = {word for line in instructions if re.match(r"COPY (?!--from)", line) for word in line.split()[1:-1]}
    assert copied == needed | {"docker/healthy"}
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert (lines[0], lines[-1]) == ("*", "**/__pycache__")
    assert {line.removeprefix("!") for line in lines[1:-1]} == copied  # and nothing else: no .env, no studies


def test_the_lock_is_what_is_installed(instructions: list[str]) -> None:
    (install,) = (line for line in instructions if "tools/set_up.py" in line)
    assert install.startswith("RUN --mount=type=cache")
    environment = " ".join(line for line in instructions if line.startswith("ENV "))
    assert "UV_NO_DEV=1 UV_NO_EDITABLE=1" in environment
    assert not any("pip install" in line for line in instructions)


def test_compile_settings_stand_in_one_way_everywhere() -> None:
    compose = read_compose(filled_example(Path("/srv/models")))["services"]
    defaults = read_compose(filled_example(Path("/srv/models")) | {"CPU_CMAKE_ARGS": "", "CUDA_CMAKE_ARGS": ""})
    for service, kind in (("evaluator", "cpu"), ("evaluator-gpu", "cuda")):
        text = (ROOT / "docker" / f"{kind}.Dockerfile").read_text()
        (argument,) = re.findall(r'^ARG CMAKE_ARGS="(.*)"$', text, re.MULTILINE)
        assert compose[service]["build"]["args"]["CMAKE_ARGS"] == argument
        assert defaults["services"][service]["build"]["args"]["CMAKE_ARGS"] == argument
        assert read_example()[f"{kind.upper()}_CMAKE_ARGS"] == argument


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.end_headers()
        self.wfile.write(b'{"name": "node-1"}')

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("path", "text", "code"),
    [("/there", [], 0), ("/there", ["node-1"], 0), ("/there", ["node-2"], 1), ("/elsewhere", [], 1)],
)
def test_healthy_says_so_only_where_it_is(address: str, path: str, text: list[str], code: int) -> None:
    assert os.access(HEALTHY, os.X_OK)
    ended = subprocess.run([sys.executable, HEALTHY, address + path, *text], capture_output=True, text=True)
    assert ended.returncode == code
    assert bool(ended.stderr) == bool(code)
    assert "Traceback" not in ended.stderr


def test_healthy_says_why_where_nobody_listens() -> None:
    ended = subprocess.run([sys.executable, HEALTHY, "http://127.0.0.1:1/health"], capture_output=True, text=True)
    assert (ended.returncode, "refused" in ended.stderr) == (1, True)
