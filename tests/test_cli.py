"""The command line: every bad input is one clear line on standard error, an exit code, and nothing left behind."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.cli import run
from tests.models import header_only, tiny_model

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.gguf (4 layers, F16), its Q8_0, and two texts."""
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder, n_layer=4).rename(folder / "tiny.gguf")
    assert run(["quantize", str(folder / "tiny.gguf"), "--recipe", "Q8_0", "-o", str(folder / "q8.gguf")]) == 0
    for name in ("search", "report"):
        (folder / f"{name}.txt").write_text(f"one two three {name} four five six. " * 400)
    return folder


@pytest.fixture
def cli(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


def truncated(models: Path, folder: Path) -> Path:
    path = folder / "short.gguf"
    path.write_bytes((models / "tiny.gguf").read_bytes()[:-1000])
    return path


def rows(n_layer: int, **changes: str) -> str:
    types = {str(layer): "Q4_K_M" for layer in range(n_layer)} | changes
    return json.dumps([[int(layer), name] for layer, name in types.items()])


def test_plan_json_has_the_contract_s_keys(cli: Run, models: Path) -> None:
    code, out, _ = cli("plan", models / "tiny.gguf", "--budget", "IQ4_XS", "--layer-types", rows(4), "--json")
    plan = json.loads(out)
    assert code == 0
    assert plan["n_layer"] == 4
    assert plan["budget_bytes"] == plan["presets"]["IQ4_XS"]
    assert plan["feasible_bytes"]["min"] < plan["budget_bytes"] < plan["feasible_bytes"]["max"]
    assert plan["recipe_bytes"] == plan["presets"]["Q4_K_M"]


def test_plan_of_a_header_alone(cli: Run, tmp_path: Path) -> None:
    path = header_only(tmp_path, "qwq-32b")
    code, out, _ = cli("plan", path, "--json")
    assert code == 0
    assert round(json.loads(out)["presets"]["IQ4_XS"] / 1e9, 1) == 17.9


def test_quantize_writes_what_plan_promised(cli: Run, models: Path, tmp_path: Path) -> None:
    _, out, _ = cli("plan", models / "tiny.gguf", "--layer-types", rows(4, **{"1": "Q3_K_S"}), "--json")
    code, _, _ = cli(
        "quantize", models / "tiny.gguf", "--layer-types", rows(4, **{"1": "Q3_K_S"}), "--plain", "-o", "out.gguf"
    )  # fmt: skip
    assert code == 0
    assert (tmp_path / "out.gguf").stat().st_size == json.loads(out)["recipe_bytes"]


def test_eval_of_the_reference_against_itself(cli: Run, models: Path) -> None:
    model = models / "tiny.gguf"
    code, out, err = cli(
        "eval", model, "--reference", model, "--text", models / "search.txt", "-c", 64, "--chunks", 4, "--json"
    )
    assert code == 0, err
    result = json.loads(out)
    assert abs(result["mean_kld"]) <= 1e-6
    assert result["perplexity"] == pytest.approx(result["reference_perplexity"], rel=1e-6)
    assert result["size_bytes"] == model.stat().st_size
    assert {"99.9", "0.1", "max", "min"} <= set(result["kld_percentiles"])


BAD = [
    (["plan", "absent.gguf"], "no such file"),
    (["plan", "{m}/search.txt"], "GGUF"),
    (["plan", "{short}"], "truncated"),
    (["plan", "{m}/q8.gguf"], "already quantized"),
    (["search", "{m}/q8.gguf"], "already quantized"),
    (["quantize", "{m}/q8.gguf", "--recipe", "Q4_K_M", "-o", "out.gguf"], "already quantized"),
    (["plan", "{m}/tiny.gguf", "--budget", "10kB"], "below"),
    (["plan", "{m}/tiny.gguf", "--budget", "10GB"], "above"),
    (["plan", "{m}/tiny.gguf", "--budget", "Q9_Z"], "cannot be read"),
    (["plan", "{m}/tiny.gguf", "--layer-types", rows(4, **{"2": "Q4_K_N"})], "Q4_K_N"),
    (["plan", "{m}/tiny.gguf", "--layer-types", rows(3)], "lacks layer 3"),
    (["plan", "{m}/tiny.gguf", "--layer-types", rows(5)], "beyond the model"),
    (["plan", "{m}/tiny.gguf", "--layer-types", '[[0,"Q4_K"],[0,"Q5_K"]]'], "0"),
    (["plan", "{m}/tiny.gguf", "--layer-types", "[[0,"], "LAYER_TYPES"),
    (["plan", "{m}/tiny.gguf", "--imatrix", "absent.dat"], "absent.dat"),
    (["search", "{m}/tiny.gguf", "--units", "groups", "--types", "Q4_K,IQ2_XS"], "importance matrix"),
    (["search", "{m}/tiny.gguf", "--units", "groups", "--types", "Q4_K"], "nothing to choose|is above|is below"),
    (["search", "{m}/tiny.gguf", "--search-text", "absent.txt"], "no such file"),
    (["search", "{m}/tiny.gguf", "--search-text", "{tiny_text}", "--report-text", "{m}/report.txt"], "token"),
    (["search", "{m}/tiny.gguf", "--prompts", "cor"], "no prompt suite 'cor'"),
    (["eval", "{m}/q8.gguf"], "--reference"),
    (["eval", "{m}/q8.gguf", "--prompts", "cor"], "no prompt suite 'cor'"),
    (["eval", "{m}/q8.gguf", "--prompts", "demo", "--text", "{m}/search.txt"], "--reference"),
    (["eval", "{m}/q8.gguf", "--reference", "{m}/tiny.gguf", "--transcripts", "out.jsonl"], "--prompts"),
    (["search", "{m}/tiny.gguf", "--sampler", "magic"], "sampler"),
    (["search", "{m}/tiny.gguf", "--set", "evaluation.chunk=3"], "unknown setting"),
    (["search", "{m}/tiny.gguf", "--set", "pins={{'ffn_(': Q6_K}}"], "regular expression"),
    (["search", "{m}/tiny.gguf", "--pin", "ffn=Q8_0", "--pin", "ffn_down=Q4_K"], "pinned twice"),
    (["plan", "{m}/tiny.gguf", "--bound", "ffn=Q4_K"], "must have the form"),
    (["search", "absent.yaml"], "no such file"),
    (["eval", "{m}/q8.gguf", "--reference", "absent.gguf", "--text", "{m}/search.txt"], "no such file"),
    (["eval", "{m}/q8.gguf", "--reference", "{m}/tiny.gguf", "--text", "{tiny_text}"], "token"),
    (["quantize", "{m}/tiny.gguf", "-o", "out.gguf"], "either"),
    (["quantize", "{m}/tiny.gguf", "--recipe", "Q4_K_M", "-o", "{m}/tiny.gguf"], "source"),
    (["quantize", "{m}/tiny.gguf", "--recipe", "IQ2_XS", "-o", "out.gguf"], "importance"),
]


@pytest.mark.parametrize(("arguments", "expected"), BAD, ids=[" ".join(arguments)[:60] for arguments, _ in BAD])
def test_bad_input_is_one_clear_error(
    cli: Run, models: Path, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    inputs = tmp_path / "in"
    inputs.mkdir()
    (inputs / "tiny.txt").write_text("too short")
    names = {"m": models, "short": truncated(models, inputs), "tiny_text": inputs / "tiny.txt"}
    code, out, err = cli(*(argument.format(**names) if "{" in argument else argument for argument in arguments))
    assert code == 2, err
    assert re.search(expected, err), err
    assert err.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "out.gguf").exists()
    assert not [path for path in tmp_path.rglob("*.gguf") if path.parent != inputs and "bank" not in path.parts]


@pytest.mark.parametrize(
    "arguments",
    [
        ["trials", "x"],
        ["report", "x"],
        ["export", "x", "--as", "gguf"],
        ["status", "x"],
        ["stop", "x"],
        ["resume", "x"],
    ],
)
def test_a_study_that_is_not_there(cli: Run, arguments: list[str]) -> None:
    code, _, err = cli(*arguments)
    assert code == 1
    assert "no studies" in err or "no study" in err


def test_missing_split_is_named(cli: Run, models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "splits"
    folder.mkdir()
    first = tiny_model(folder, n_layer=4, splits=3)
    victim = sorted(folder.glob("*-00002-of-00003.gguf"))[0]
    victim.unlink()
    code, _, err = cli("plan", first)
    assert code == 2
    assert "00002-of-00003" in err


def test_no_tokenizer(cli: Run, models: Path, tmp_path: Path) -> None:
    from optimizer.gguf.model_file import ModelFile
    from optimizer.gguf.write import NewTensor, write_gguf

    model = ModelFile.open(models / "tiny.gguf")
    bare = [pair for pair in model.output_pairs if not pair.key.startswith("tokenizer.")]
    data = (models / "tiny.gguf").read_bytes()
    tensors = [NewTensor(t.name, t.shape, t.tensor_type) for t in model.tensors]
    contents = [[data[t.offset : t.offset + t.n_bytes]] for t in model.tensors]
    write_gguf(tmp_path / "bare.gguf", bare, tensors, contents)
    code, _, err = cli("search", tmp_path / "bare.gguf")
    assert code == 2
    assert "tokenizer" in err


def test_disk_too_small(cli: Run, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(os.curdir)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=200_000))
    code, _, err = cli(
        "search", models / "tiny.gguf", "--search-text", models / "search.txt", "--report-text", models / "report.txt"
    )
    assert code == 1
    assert "free" in err
    assert "--bank" in err


def test_every_command_is_documented() -> None:
    from optimizer.cli import COMMANDS, make_app

    text = (Path(__file__).parent.parent / "docs" / "commands.md").read_text()
    app = make_app()
    names = [command.name for command in app.registered_commands] + [group.name for group in app.registered_groups]
    assert sorted(names) == sorted(COMMANDS)
    for name in names:
        assert f"layerquant {name}" in text


def test_planning_loads_no_database() -> None:
    """Half a second of imports that a plan does not need."""
    code = "import sys, optimizer.cli as cli; cli.make_app('plan'); print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("command", ["plan", "search", "quantize", "eval", "probe", "export", "imatrix", "serve"])
def test_help_is_shown(command: str, cli: Run) -> None:
    """A bracket in a help text is markup, and an unknown tag would end in a traceback."""
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert "Usage" in out
    assert f" {command} " in out
