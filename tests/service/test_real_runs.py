"""`--server URL` against a real service process and llama.cpp itself: what comes out is what comes out here."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2
import pytest

from tests.models import tiny_model
from tests.waiting import eventually

pytestmark = pytest.mark.long

LAYERQUANT = (sys.executable, "-m", "optimizer.cli")
SUITE = """\
name: mine
prompts:
  - {id: one, category: arithmetic, raw: "2+2=", max_tokens: 8, checks: [{number: 4}]}
"""


class Place:
    """A service over `models`, and an empty folder of this side."""

    def __init__(self, folder: Path) -> None:
        self.models, self.here, self.studies = folder / "models", folder / "here", folder / "studies"
        self.models.mkdir()
        self.here.mkdir()
        tiny_model(self.models, n_layer=2).rename(self.models / "tiny.gguf")
        (self.models / "text.txt").write_text("one two three four five six seven. " * 200)
        (self.models / "long.txt").write_text("one two three four five six seven. " * 60_000)
        (self.models / "mine.yaml").write_text(SUITE)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{self.port}", (folder / "serve.log").open("ab")
        self.process = self.serve()

    def serve(self) -> "subprocess.Popen[bytes]":
        folders = ["--studies", str(self.studies), "--models", str(self.models)]
        self.process = subprocess.Popen(
            [*LAYERQUANT, "serve", "--port", str(self.port), *folders], stdout=self.log, stderr=self.log
        )
        eventually(self.answers)
        return self.process

    def answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/api/health", timeout=5).status_code == 200
        except httpx2.HTTPError:
            return False

    def local(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """The command in the models' folder, without a service."""
        return subprocess.run([*LAYERQUANT, *words], cwd=self.models, capture_output=True, text=True, check=True)

    def remote(self, words: Sequence[str]) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*LAYERQUANT, *words, "--server", self.url],
            cwd=self.here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def asked(self, *words: str) -> tuple[str, str]:
        process = self.remote(words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out, err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(tmp_path_factory.mktemp("runs"))
    yield made
    made.process.terminate()
    made.process.wait(60)
    made.log.close()


def test_a_quantized_model_is_the_same_file_and_has_the_same_score(place: Place) -> None:
    made = ("quantize", "tiny.gguf", "--recipe", "Q4_K_M", "-o", "small.gguf")
    _, err = place.asked(*made)
    assert "here: small.gguf" in err
    place.local(*made)
    local = place.models / "small.gguf"
    assert (place.here / "small.gguf").read_bytes() == local.read_bytes()
    local.rename(place.models.parent / "small.gguf")  # the service has its own of that name
    scored = ("--reference", "tiny.gguf", "--text", "text.txt", "-c", "64", "--chunks", "4", "-t", "1", "--json")
    out, _ = place.asked("eval", "small.gguf", *scored)
    assert json.loads(out) == json.loads(place.local("eval", "../small.gguf", *scored).stdout)


def test_a_suite_is_checked_as_here(place: Place) -> None:
    for words in (("mine.yaml",), ("mine.yaml", "--json")):
        assert place.asked("prompts", "check", *words)[0] == place.local("prompts", "check", *words).stdout


def test_sensitivities_come_as_a_file(place: Place) -> None:
    out, err = place.asked(
        "probe", "tiny.gguf", "--text", "text.txt", "-c", "64", "--chunks", "2", "--csv", "parts.csv", "--json"
    )
    assert "here: parts.csv" in err
    assert len((place.here / "parts.csv").read_text().splitlines()) > len(json.loads(out)["sensitivities"]) > 0


def test_ctrl_c_stops_it_there_and_the_same_command_goes_on(place: Place) -> None:
    words = ("imatrix", "tiny.gguf", "--text", "long.txt", "-o", "matrix.gguf", "-c", "64", "--output-frequency", "1")
    process = place.remote(words)
    eventually((place.studies / "service" / "files" / "matrix.gguf.partial").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "what was summed is kept" in err
    last = httpx2.get(f"{place.url}/api/runs").json()["runs"][-1]
    assert (last["state"], last["exit_code"], last["files"]) == ("ended", 130, [])
    assert not (place.here / "matrix.gguf").exists()

    process = place.remote(words)
    assert process.stderr is not None
    while "goes on behind chunk" not in (line := process.stderr.readline()):
        assert line, "it began anew"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_a_service_that_is_killed_and_started_anew_loses_no_run(place: Place) -> None:
    words = ("imatrix", "tiny.gguf", "--text", "long.txt", "-o", "kept.gguf", "-c", "64", "--chunks", "600")
    process = place.remote(words)
    assert process.stderr is not None
    assert "importance matrix" in process.stderr.readline()  # it is at work
    place.process.kill()
    place.process.wait()
    place.serve()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "here: kept.gguf" in err
    last = httpx2.get(f"{place.url}/api/runs").json()["runs"][-1]
    assert (last["state"], last["exit_code"], last["error"]) == ("ended", 0, None)
    there = place.studies / "service" / "files" / "kept.gguf"
    assert (place.here / "kept.gguf").read_bytes() == there.read_bytes()
