"""`layerquant eval --prompts` on a tiny model of random weights: it solves nothing, and everything is said of it."""

import json
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from optimizer.cli import run
from tests.models import tiny_model

SUITE = """
name: tiny
prompts:
  - {id: sum, category: arithmetic, raw: "3 + 4 =", max_tokens: 6, checks: [{number: 7}]}
  - {id: word, category: writing, raw: "Once", max_tokens: 6, checks: [{any: [upon, dog]}]}
"""
Eval = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model(folder, n_layer=2).rename(folder / "tiny.gguf")
    assert run(["quantize", str(folder / "tiny.gguf"), "--recipe", "Q4_0", "-o", str(folder / "q4.gguf")]) == 0
    (folder / "tiny.yaml").write_text(SUITE)
    (folder / "text.txt").write_text("one two three four five six. " * 200)
    return folder


@pytest.fixture(scope="module")
def first(folder: Path) -> dict[str, Any]:
    """Both models' answers, kept in the folder's database and as lines."""
    printed = StringIO()
    with redirect_stdout(printed):
        lines = folder / "deep" / "transcripts.jsonl"
        arguments = (
            "--reference",
            folder / "tiny.gguf",
            "--transcripts",
            lines,
            "--studies",
            folder / "kept",
            "--json",
        )
        assert run(["eval", str(folder / "q4.gguf"), "--prompts", str(folder / "tiny.yaml"), *map(str, arguments)]) == 0
    found: dict[str, Any] = json.loads(printed.getvalue())
    return found


@pytest.fixture
def evaluate(folder: Path, capfd: pytest.CaptureFixture[str]) -> Eval:
    def call(*arguments: str | Path) -> tuple[int, str, str]:
        capfd.readouterr()
        suite = folder / "tiny.yaml"
        code = run(["eval", str(folder / "q4.gguf"), "--prompts", str(suite), *map(str, arguments)])
        output = capfd.readouterr()
        return code, output.out, output.err

    return call


def test_json_holds_the_contract_s_keys_and_a_paired_test(first: dict[str, Any], folder: Path) -> None:
    assert first["size_bytes"] == (folder / "q4.gguf").stat().st_size
    assert "mean_kld" not in first
    prompts = first["prompts"]
    endings = prompts["loops"] + prompts["out_of_tokens"]
    assert (prompts["solved"], prompts["total"], prompts["unavailable"]) == (0, 2, 0)
    assert 0 <= endings <= 2
    assert set(prompts["by_category"]) == {"arithmetic", "writing"}
    assert prompts["reference"]["total"] == prompts["paired"]["compared"] == 2
    assert prompts["agreement"]["generations"] == 2
    kept = [json.loads(line) for line in (folder / "deep" / "transcripts.jsonl").read_text().splitlines()]
    assert [(line["model"], line["question"]) for line in kept] == [
        ("candidate", "sum"), ("candidate", "word"), ("reference", "sum"), ("reference", "word"),
    ]  # fmt: skip
    assert sum(len(line["tokens"]) for line in kept[:2]) == prompts["generated_tokens"]


def test_a_text_beside_the_prompts_gives_both(evaluate: Eval, folder: Path) -> None:
    text = ("--text", folder / "text.txt", "-c", 64, "--chunks", 2)
    code, out, err = evaluate("--reference", folder / "tiny.gguf", *text, "--json")
    assert code == 0, err
    assert {"mean_kld", "perplexity", "prompts"} <= set(json.loads(out))


def test_a_model_alone_is_scored_without_comparison(evaluate: Eval) -> None:
    code, out, err = evaluate("--json")
    assert code == 0, err
    prompts = json.loads(out)["prompts"]
    assert prompts["total"] == 2
    assert prompts["agreement"] is prompts["paired"] is prompts["reference"] is None


def test_kept_answers_are_not_generated_again(
    evaluate: Eval, first: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluators.process import EvaluatorProcess

    def refuse(*_: object) -> None:
        raise AssertionError("generated again")

    monkeypatch.setattr(EvaluatorProcess, "generate", refuse)
    arguments = ("--reference", folder / "tiny.gguf", "--studies", folder / "kept")
    code, again, err = evaluate(*arguments, "--json")
    assert code == 0, err
    assert json.loads(again) == first
    code, table, err = evaluate(*arguments)
    assert code == 0, err
    for words in ("solved", "0 of 2 (0-", "arithmetic", "never end (loops)", "out of tokens", "agrees with", "McNemar"):
        assert words in table


def test_the_answers_are_a_page_side_by_side_or_alone(evaluate: Eval, folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "new" / "answers.html"
    code, _, err = evaluate("--reference", folder / "tiny.gguf", "--studies", folder / "kept", "--html", page)
    assert code == 0, err
    assert f"written: {page}" in err.replace("\n", "")
    text = page.read_text()
    assert "<h1>q4.gguf against tiny.gguf</h1>" in text
    assert "0 lost, 0 gained, " in text
    assert "3 + 4 =" in text or "Identical to the last token: sum" in text
    code, _, err = evaluate("--html", page)
    assert code == 0, err
    text = page.read_text()
    assert "<h1>q4.gguf</h1>" in text
    assert "2 not solved." in text
    assert "tiny.gguf" not in text


def test_a_page_of_answers_needs_prompts(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "answers.html"
    assert run(["eval", str(folder / "q4.gguf"), "--reference", str(folder / "tiny.gguf"), "--html", str(page)]) == 2
    assert "--html: there are no answers without prompts" in " ".join(capfd.readouterr().err.split())
    assert not page.exists()


def test_a_chat_template_that_cannot_be_read(evaluate: Eval, tmp_path: Path) -> None:
    code, _, err = evaluate("--chat-template", tmp_path / "absent.jinja")
    assert code == 2
    assert "absent.jinja cannot be read" in err
