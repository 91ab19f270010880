"""`layerquant imatrix`, as somebody types it."""

import json
import re
from pathlib import Path

import pytest

from evaluators.imatrix.collecting import collect_activations
from evaluators.settings import RuntimeSettings
from optimizer.cli import run
from optimizer.sources import open_model
from tests.evaluators.imatrix.models import experts_model
from tests.evaluators.imatrix.test_collecting import FIXTURES, TEXT, same_machine

RECORDED = FIXTURES / "imatrix/experts.gguf"


def test_make_one_and_look_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = experts_model(tmp_path)
    monkeypatch.chdir(TEXT.parent)
    flags = ["-c", "128", "-b", "256", "-t", "1", "--chunks", "5", "--process-output"]
    made, picture = tmp_path / "made.gguf", tmp_path / "made.svg"
    assert run(["imatrix", str(model), "--text", "imatrix.txt", *flags, "-o", str(made), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["chunks"], found["chunk_size"], found["chunks_before"]) == (5, 128, 0)
    assert [each["weight"] for each in found["coverage"]["missing"]] == ["token_embd.weight"]
    if same_machine():
        assert made.read_bytes() == RECORDED.read_bytes()

    assert run(["imatrix", str(model), "--show-statistics", str(RECORDED), "--json", "--plot", str(picture)]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["weights"]) == 17
    assert [each["layer"] for each in shown["layers"]] == [0, 1]
    assert shown["coverage"]["covered"] == 15
    assert picture.read_text().startswith("<svg")


def test_a_stop_says_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "made.gguf"

    def stopped(*_: object) -> None:
        out.with_name(f"{out.name}.partial").write_bytes(b"sums")
        raise SystemExit(130)

    monkeypatch.setattr("optimizer.commands.imatrix.make_imatrix", stopped)
    assert run(["imatrix", str(experts_model(tmp_path)), "--text", str(TEXT), "-o", str(out)]) == 130
    assert "made.gguf.partial; the same command goes on" in capsys.readouterr().err


def test_a_continued_run_says_where_it_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out = experts_model(tmp_path), tmp_path / "made.gguf"
    flags = ["-c", "128", "-b", "128", "-t", "1"]
    settings = RuntimeSettings(ctx_size=128, batch_size=128, threads=1)
    identity, partial = open_model(model).fingerprint, out.with_name("made.gguf.partial")
    collect_activations([model], TEXT, partial, settings, identity=identity, chunks=2)
    assert run(["imatrix", str(model), "--text", str(TEXT), "--chunks", "3", *flags, "-o", str(out)]) == 0
    assert "goes on behind chunk 2 of 3" in capsys.readouterr().err


def test_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["imatrix", "--show-statistics", str(RECORDED)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"\n +1 +ffn_down_exps +386\.81 +0\.0114 +9\.2546 +0\.38 +0\.74 +100\.00% +1024 +8\.7004", text)
    assert re.search(r"\n +1 +640\.08 +11\.3281% +0\.5530", text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["imatrix"], "made of a model and a text"),
        (["imatrix", "{demo}", "--text", "imatrix.txt"], "made of a model and a text"),
        (["imatrix", "--show-statistics", "{demo}"], "not an importance matrix"),
        (["imatrix", "--show-statistics", "{recorded}", "-o", "x"], "leave out --text and -o"),
        (["imatrix", "{recorded}", "--text", "{text}", "-o", "x"], "type 'imatrix'"),
    ],
)
def test_bad_input(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"demo": TEXT.parents[1] / "model/demo-F16.gguf", "recorded": RECORDED, "text": TEXT}
    assert run([word.format(**places) for word in words]) == 2
    assert message in capsys.readouterr().err
