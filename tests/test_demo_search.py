"""What `make demo` shows, on the bundled model with the real llama.cpp, and a kill in the middle."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from optimizer.gguf.model_file import ModelFile

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "demo" / "model" / "demo-F16.gguf"


def layerquant(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optimizer.cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert not check or done.returncode == 0, done.stderr
    return done


def search_killed_once(config: str, studies: Path, after_trials: int) -> None:
    """Start a search, kill -9 it once some trials are there, and run the same command again."""
    command = [sys.executable, "-m", "optimizer.cli", "search", config, "--studies", str(studies)]
    with (studies.parent / "killed.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        study = Path(config).stem
        deadline = time.monotonic() + 600
        while trials_done(study, studies) < after_trials:
            assert process.poll() is None, (studies.parent / "killed.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert trials_done(study, studies) < 60
    layerquant("search", config, "--studies", studies)


def trials_done(study: str, studies: Path) -> int:
    done = layerquant("status", study, "--studies", studies, "--json", check=False)
    if done.returncode != 0:
        return 0
    counts: dict[str, int] = json.loads(done.stdout)["trials"]
    return counts["complete"] + counts["pruned"]


def report_of(study: str, studies: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(layerquant("report", study, "--studies", studies, "--json").stdout)
    return result


def tensor_digests(path: Path) -> dict[str, tuple[str, str]]:
    """Tensor -> (type, SHA-256 of its data)."""
    data = path.read_bytes()
    return {
        tensor.name: (
            tensor.tensor_type,
            hashlib.sha256(data[tensor.offset : tensor.offset + tensor.n_bytes]).hexdigest(),
        )
        for tensor in ModelFile.open(path).tensors
    }


@pytest.mark.long
def test_the_demo_beats_every_preset_that_fits_and_survives_a_kill(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    search_killed_once("configs/demo.yaml", studies, after_trials=12)
    report = report_of("demo", studies)
    best = report["best"]
    presets = [row for row in report["baselines"] if row["kind"] == "preset" and row["fits"]]
    assert len(presets) >= 5
    assert best["mean_kld"] < min(row["mean_kld"] for row in presets)
    assert best["size_bytes"] <= report["budget_bytes"]
    assert trials_done("demo", studies) == 60
    trials = json.loads(layerquant("trials", "demo", "--studies", studies, "--json").stdout)["trials"]
    assert [trial["number"] for trial in trials] == list(range(len(trials)))

    gguf = tmp_path / "winner.gguf"
    layerquant("export", "demo", "--studies", studies, "--as", "gguf", "-o", gguf)
    assert gguf.stat().st_size == best["size_bytes"]
    text = tmp_path / "layer_types.sh"
    layerquant("export", "demo", "--studies", studies, "--as", "layer-types", "-o", text)
    again = tmp_path / "again.gguf"
    layerquant("quantize", MODEL, "--layer-types", text, "--plain", "-o", again)
    assert tensor_digests(again) == tensor_digests(gguf)
    listed = tmp_path / "types.txt"
    layerquant("export", "demo", "--studies", studies, "--as", "tensor-type-file", "-o", listed)
    from_list = tmp_path / "from-list.gguf"
    layerquant("quantize", MODEL, "--recipe", listed, "--plain", "-o", from_list)
    assert tensor_digests(from_list) == tensor_digests(gguf)

    scored = json.loads(
        layerquant(
            "eval", gguf, "--reference", MODEL, "--text", ROOT / "demo/texts/report.txt", "-c", 256, "--chunks",
            report["report_text"]["chunks"], "--json",
        ).stdout
    )  # fmt: skip
    assert scored["mean_kld"] == pytest.approx(best["mean_kld"], rel=1e-3)


@pytest.mark.long
def test_by_layers_with_k_quants_every_k_preset_that_fits_is_beaten(tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    layerquant("search", "configs/iq4_xs.yaml", "--studies", studies)
    report = report_of("iq4_xs", studies)
    k_presets = [
        row
        for row in report["baselines"]
        if row["kind"] == "preset" and row["fits"] and row["name"].startswith("Q") and "_K" in row["name"]
    ]
    assert len(k_presets) >= 3
    assert report["best"]["mean_kld"] < min(row["mean_kld"] for row in k_presets)
    iq4_xs = next(row for row in report["baselines"] if row["name"] == "IQ4_XS")
    if report["best"]["mean_kld"] > iq4_xs["mean_kld"]:
        assert "IQ4_XS is better" in report["verdict"]


def test_a_short_search_from_one_command(tmp_path: Path) -> None:
    """A dozen trials on few chunks: everything from the command to the exported file, with the real evaluator."""
    studies = tmp_path / "studies"
    options = ("--trials", "13", "--set", "evaluation.chunks=8", "--set", "evaluation.report_chunks=8",
               "--set", "evaluation.probe_chunks=8", "-t", "1")  # fmt: skip
    done = layerquant("search", "configs/iq4_xs.yaml", "--study", "short", "--studies", studies, *options)
    assert "LAYER_TYPES='[" in done.stdout
    assert (
        layerquant("search", "configs/iq4_xs.yaml", "--study", "short", "--studies", studies, *options).returncode == 0
    )
    report = report_of("short", studies)
    assert report["noise_floor_kld"] < 1e-5
    out = tmp_path / "best.gguf"
    layerquant("export", "short", "--studies", studies, "--as", "gguf", "-o", out)
    assert out.stat().st_size == report["best"]["size_bytes"] <= report["budget_bytes"]
    page = tmp_path / "report.html"
    layerquant("report", "short", "--studies", studies, "--html", page)
    assert "plotly" in page.read_text().lower()
    for form in ("command", "card"):
        assert layerquant("export", "short", "--studies", studies, "--as", form).stdout
    layerquant("export", "short", "--studies", studies, "--as", "folder", "-o", tmp_path / "folder")
    first = sorted((tmp_path / "folder").glob("*.gguf"))[0]
    assert ModelFile.open(first).n_layer == 8
    csv = layerquant("trials", "short", "--studies", studies, "--csv").stdout
    assert len(csv.splitlines()) == 14
