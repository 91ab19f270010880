"""A real server process, a real search on the demo model, and the server killed in its middle."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from optimizer.errors import LayerquantError
from optimizer.gguf.model_file import ModelFile
from optimizer.named_files import BUNDLED
from optimizer.service.client import Client
from optimizer.store.holder import holder_of_process
from optimizer.workplace import Workplace
from tests.store.studies import new_study
from tests.waiting import eventually

pytestmark = pytest.mark.long

SETTINGS = {
    "study": "night",
    "trials": 8,
    "evaluation": {"chunks": 4, "ctx_size": 128},
    "baselines": {"hybrids": False, "variants": False},
    "tracking": {"mlflow": "none", "optuna": False},
}


class Server:
    """`layerquant serve` as a process, killed and started again as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "optimizer.cli", "serve", "--port", str(self.port),
                 "--studies", str(self.folder / "studies")],
                stdout=log, stderr=log,
            )  # fmt: skip
        eventually(lambda: self.client.get("api/health")["status"] == "ok", 60, not_yet=(LayerquantError,))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def study(self) -> dict[str, Any]:
        shown = self.client.get("api/studies/night")
        assert isinstance(shown, dict)
        return shown


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.client.close()
    assert made.process is not None
    made.process.terminate()
    made.process.wait(30)


def test_killing_the_service_in_mid_search_loses_nothing(server: Server) -> None:
    demo = yaml.safe_load((BUNDLED / "configs" / "demo.yaml").read_text())
    tree = {key: demo[key] for key in ("model", "budget", "units", "search_text", "report_text") if key in demo}
    made = server.client.post("api/studies", {"config": tree | SETTINGS})
    assert made["state"] in ("queued", "starting", "running")
    eventually(lambda: server.study()["trials"]["complete"] >= 2, 300, not_yet=(LayerquantError,))
    holder = server.study()["holder"]
    pid = int(holder.split()[1])
    searching = holder_of_process(pid)
    assert searching is not None

    server.kill()
    assert holder_of_process(pid) == searching  # the search goes on without it
    server.start()
    assert server.study()["holder"] == holder
    with pytest.raises(LayerquantError, match="already"):
        server.client.post("api/studies/night/resume")

    answer = server.client.post("api/studies/night/stop")
    assert answer["stop_requested"]
    eventually(lambda: server.study()["state"] == "paused", 120, not_yet=(LayerquantError,))
    before = server.client.get("api/studies/night/trials")["trials"]
    server.client.post("api/studies/night/resume")
    eventually(lambda: server.study()["state"] == "finished", 600, not_yet=(LayerquantError,))
    after = server.client.get("api/studies/night/trials")["trials"]
    done = [each for each in before if each["state"] == "complete"]
    assert after[: len(done)] == done
    assert sum(each["state"] in ("complete", "pruned") for each in after) == SETTINGS["trials"]

    _export(server)
    audit = (server.folder / "studies" / "service" / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["action"] for line in audit] == ["search", "stop", "resume", "export"]


def _export(server: Server) -> None:
    report = server.client.get("api/studies/night/report")
    job = server.client.post("api/studies/night/exports/gguf")

    def ended() -> bool:
        return bool(server.client.get("api/studies/night/exports")["exports"][-1]["state"] == "ended")

    eventually(ended, 120, not_yet=(LayerquantError,))
    output = server.folder / "winner.gguf"
    n_bytes = server.client.download(f"api/studies/night/exports/files/{job['file']}", output)
    assert report["best"]["size_bytes"] <= n_bytes <= report["budget_bytes"]
    assert ModelFile.open(output).n_layer == report["model"]["n_layer"]
    assert "LAYER_TYPES=" in server.client.text("api/studies/night/exports/layer-types/text")


def test_events_arrive_over_the_wire_and_an_open_reader_holds_up_nothing(server: Server) -> None:
    folder = server.folder / "studies"
    with Workplace(folder).open_store() as store:
        study = new_study(store)
        study.finish(study.start(), 0.25)
        store.release_lease(study.lease)
    address = f"http://127.0.0.1:{server.port}/api/studies/night/events"
    with httpx2.Client(timeout=30) as http, http.stream("GET", address) as answer:
        lines = answer.iter_lines()
        seen = [next(lines) for _ in range(3)]
        assert seen[:2] == ["id: 0", "event: trial"]
        assert json.loads(seen[2].removeprefix("data: "))["mean_kld"] == 0.25
        assert server.process is not None
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) in (0, 130)
    assert "Traceback" not in (server.folder / "serve.log").read_text()
    server.start()
