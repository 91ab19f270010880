"""MODEL by its name on a hub, in the commands; and what a checkpoint for transformers is answered with."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.cli import run
from optimizer.config import SearchConfig
from optimizer.errors import GgufError
from optimizer.search.claiming import kept_settings
from optimizer.search.planning import make_plan
from optimizer.search.texts import choose_texts
from optimizer.sources import find_model, open_model
from tests.models import tiny_model
from tests.sources.hub_server import FakeHub

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def split(hub: FakeHub, tmp_path: Path) -> dict[str, bytes]:
    """A repository o/r with a split F16 model in a folder, a quantized one and a projector."""
    tiny_model(tmp_path / "made", splits=3, name="tiny-F16")
    files = {f"F16/{each.name}": each.read_bytes() for each in sorted((tmp_path / "made").iterdir())}
    hub.add("o/r", {**files, "tiny-Q4_K_M.gguf": b"", "mmproj-F16.gguf": b"", "README.md": b""})
    return files


def test_plan_of_a_split_model_of_the_hub(hub: FakeHub, split: dict[str, bytes], cli: Run, tmp_path: Path) -> None:
    code, out, err = cli("plan", "hf://o/r", "--json")
    assert code == 0, err
    local = cli("plan", tmp_path / "made" / "tiny-F16-00002-of-00003.gguf", "--json")[1]
    assert json.loads(out) | {"model": ""} == json.loads(local) | {"model": ""}
    assert json.loads(out)["model"] == "hf://o/r"
    assert cli("plan", "hf://o/r", "--json")[1] == out


def test_plan_fetches_headers_alone(
    hub: FakeHub, split: dict[str, bytes], cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optimizer.sources.headers.FIRST_BYTES", 3000)  # less than the first header
    assert cli("plan", "hf://o/r")[0] == 0
    parts = {path.name: path.stat().st_size for path in tmp_path.glob("hf/assets/layerquant/headers/**/*.gguf")}
    assert sorted(parts) == [Path(each).name for each in split]
    assert not list(tmp_path.glob("hf/hub/*/blobs/*"))
    assert hub.ranges()[:2] == ["bytes=0-2999", "bytes=3000-5999"]
    asked = len(hub.ranges())
    assert cli("plan", "hf://o/r")[0] == 0
    assert len(hub.ranges()) == asked
    hub.add("o/text", {"m-F16.gguf": b"no such thing" * 1000})
    code, _, err = cli("plan", "hf://o/text")
    assert (code, "not a GGUF" in err) == (2, True)
    hub.add("o/cut", {"m-F16.gguf": next(iter(split.values()))[:2000]})
    code, _, err = cli("plan", "hf://o/cut")
    assert (code, "truncated" in err) == (2, True)


def test_a_hub_that_lists_files_in_its_tree_alone(hub: FakeHub, split: dict[str, bytes]) -> None:
    hub.repositories["models", "o/r"].siblings = False
    assert find_model("hf://o/r").name == "tiny-F16-00001-of-00003.gguf"


def test_any_part_brings_the_others(hub: FakeHub, split: dict[str, bytes]) -> None:
    model = open_model("hf://o/r/F16/tiny-F16-00003-of-00003.gguf@main")
    assert [path.name for path in model.paths] == [Path(each).name for each in split]


def test_a_part_that_the_hub_lacks_is_named(hub: FakeHub, split: dict[str, bytes], cli: Run) -> None:
    del hub.repositories["models", "o/r"].files["F16/tiny-F16-00002-of-00003.gguf"]
    code, _, err = cli("quantize", "hf://o/r", "--recipe", "Q8_0", "-o", "out.gguf")
    assert code == 2
    assert "has no file F16/tiny-F16-00002-of-00003.gguf" in err
    assert hub.ranges() == []


def test_what_is_cached_is_chosen_from_without_a_network(
    hub: FakeHub, split: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = find_model("hf://o/r")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_model("hf://o/r") == path


def test_quantize_and_eval_take_names_of_the_hub(hub: FakeHub, cli: Run, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "made", name="tiny-BF16", tensor_type="BF16")
    hub.add("o/r", {model.name: model.read_bytes()})
    hub.add("datasets/o/d", {"a.txt": b"one two three four five six. " * 200})
    quantized = tmp_path / "q8.gguf"
    assert cli("quantize", "hf://o/r", "--recipe", "Q8_0", "--plain", "-o", quantized)[0] == 0
    code, out, err = cli(
        "eval", quantized, "--reference", "hf://o/r", "--text", "hf://datasets/o/d/a.txt",
        "-c", 64, "--chunks", 2, "--json",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads(out)
    assert 0 < result["mean_kld"] < 0.1
    assert result["text"]["origin"].startswith("hf://datasets/o/d/a.txt@")
    assert len(result["text"]["sha256"]) == 64


def test_a_study_keeps_what_a_later_run_finds_without_a_network(
    hub: FakeHub, split: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("datasets/o/d", {"a.txt": b"search text", "b.txt": b"report text"})
    settings = {"model": "hf://o/r", "search_text": "hf://datasets/o/d/a.txt", "report_text": "hf://datasets/o/d/b.txt"}
    plan = make_plan(SearchConfig.load(None, settings | {"baselines.hybrids": False}))
    texts = choose_texts(plan.config)
    kept = kept_settings(plan, texts)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_model(kept["model"]).fingerprint == plan.model.fingerprint
    again = SearchConfig.load(None, {key: kept[key] for key in ("model", "search_text", "report_text")})
    assert choose_texts(again) == texts


@pytest.mark.parametrize(
    ("config", "out_type"), [({"torch_dtype": "bfloat16"}, "bf16"), ({"dtype": "float16"}, "f16"), ({}, "bf16")]
)
def test_a_checkpoint_is_answered_with_the_command_that_converts_it(
    tmp_path: Path, config: dict[str, str], out_type: str, cli: Run
) -> None:
    folder = tmp_path / "Tiny-Model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    command = f"python convert_hf_to_gguf.py {folder} --outtype {out_type} --outfile Tiny-Model-{out_type.upper()}.gguf"
    for given in (folder, folder / "model.safetensors"):
        with pytest.raises(GgufError, match=re.escape(command)):
            find_model(given)
        for arguments in (["plan", given], ["search", given], ["eval", given], ["eval", "x", "--reference", given]):
            text = ["--reference", "x", "--text", "x"] if arguments[0] == "eval" and len(arguments) == 2 else []
            if arguments[0] == "eval" and not text:
                arguments = ["eval", tiny_model(tmp_path / "tiny"), *arguments[2:], "--text", folder / "config.json"]
            code, _, err = cli(*arguments, *text)
            assert code == 2
            assert command in err


def test_a_folder_of_ggufs_is_answered_with_their_names(tmp_path: Path) -> None:
    tiny_model(tmp_path)
    with pytest.raises(GgufError, match=r"is a folder; give the GGUF in it: tiny.gguf"):
        find_model(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(GgufError, match="without a GGUF"):
        find_model(tmp_path / "empty")


def test_a_hub_is_asked_for_nothing_but_the_file(hub: FakeHub, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "made", name="tiny-F16")
    hub.add("o/r", {model.name: model.read_bytes()})
    code = "from optimizer.sources import find_model; print(find_model('hf://o/r'))"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert Path(answer.stdout.strip()).read_bytes() == model.read_bytes(), answer.stderr
    assert {path for _, path, _ in hub.requests} == {"/api/models/o/r/revision/main", f"/o/r/resolve/main/{model.name}"}
