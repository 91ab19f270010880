"""`layerquant prompts check`."""

import json
from pathlib import Path

import pytest

from evaluators.prompts.sandbox import why_unavailable
from evaluators.prompts.suite import load_suite
from optimizer.cli import run

SUITE = """\
name: small
prompts:
  - {id: sum, category: arithmetic, prompt: 1 + 1, checks: [number: 2]}
  - {id: pick, category: choice, prompt: "{options}", options: [x, y], checks: [choice: x]}
  - {id: double, category: code, prompt: write it, checks: [code: {defines: f, tests: assert f(2) == 4}]}
  - {id: silent, category: arithmetic, prompt: 2 + 2, checks: [number: 4]}
"""
ANSWERS = """\
sum: "<think>3</think> 2"
pick: A
"pick#rotated": A
double: "def f(x): return 2 * x"
"""


@pytest.fixture
def suite(tmp_path: Path) -> str:
    (tmp_path / "suite.yaml").write_text(SUITE)
    (tmp_path / "answers.yaml").write_text(ANSWERS)
    return str(tmp_path / "suite.yaml")


def test_a_suite_is_described(suite: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prompts", "check", suite, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["suite"], said["prompts"], said["questions"]) == ("small", 4, 5)
    assert said["categories"] == {"arithmetic": 2, "choice": 1, "code": 1}
    assert sorted(said["search_half"] + said["report_half"]) == ["double", "pick", "silent", "sum"]
    assert said["sha256"] == load_suite(Path(suite)).sha256
    assert "answers" not in said


def test_answers_are_judged(suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prompts", "check", suite, "--answers", str(tmp_path / "answers.yaml")]
    assert run([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    code = "unavailable" if why_unavailable("bwrap") else "passed"
    assert [(row["id"], row["verdict"]) for row in said["verdicts"]] == [
        ("sum", "passed"), ("pick", "failed"), ("double", code), ("silent", "missing"),
    ]  # fmt: skip
    assert said["verdicts"][1]["reasons"] == ["chooses A, not B"]
    assert sum(said["answers"].values()) == 4
    assert (said["answers"]["failed"], said["answers"]["missing"]) == (1, 1)
    assert run(arguments) == 0
    table = capsys.readouterr().out
    assert "chooses A, not B" in table
    assert "1 failed" in table


def test_bundled_suites_are_found_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["prompts", "check", "prompts/goldcoin.yaml"]) == 0
    assert capsys.readouterr().out.startswith("goldcoin: 1 prompts (1 reasoning), 1 generations")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("sum: '2'\nother: '3'", "answers.yaml:2: the suite small asks no question 'other'"),
        ("sum: 2", "answers.yaml:1: sum: an answer is text; put it in quotes"),
        ("- a", "answers are a mapping"),
    ],
)
def test_bad_answers_are_refused(
    suite: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: str, message: str
) -> None:
    (tmp_path / "answers.yaml").write_text(answers)
    assert run(["prompts", "check", suite, "--answers", str(tmp_path / "answers.yaml"), "--json"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


def test_a_bad_suite_is_refused_with_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\nprompts:\n  - id: a\n    category: c\n    prompt: q\n    checks: [exakt: a]\n")
    assert run(["prompts", "check", str(path)]) == 2
    assert f"{path}:6: a, checks.0.exakt: there is no such key" in capsys.readouterr().err
    assert run(["prompts", "check", "nowhere.yaml"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_shipped_suite_goes_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["prompts", "check", "demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["suite"] == "demo"
    assert run(["prompts", "check", "nonsense"]) == 2
    assert "shipped are core" in " ".join(capsys.readouterr().err.split())
