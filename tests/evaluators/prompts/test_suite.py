"""A suite: what is read, what is refused and where, its questions and its halves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from evaluators.prompts.checks import judge
from evaluators.prompts.choice import Options
from evaluators.prompts.located_yaml import SuiteError
from evaluators.prompts.prompt import Message
from evaluators.prompts.suite import Suite, load_suite
from tests.evaluators.prompts.sandboxes import Recorded

GOOD = """\
name: mine
defaults: {thinking: off, max_tokens: 100}
texts:
  log: Day 1. Fog.
prompts:
  - id: first
    category: x
    prompt: "{text:log} Is there {fog}?"
    thinking: inject
    checks:
      - any: [yes it is, "yes"]
      - none: ["no"]
  - id: second
    category: x
    messages:
      - {role: system, content: Be short.}
      - {role: user, content: "Which?\\n{options}"}
    options: [red, green, blue]
    checks:
      - choice: red
  - id: third
    category: y
    raw: "Question: 1 + 1\\nAnswer:"
    max_tokens: 7
    checks:
      - number: 2
      - code: {defines: f, tests: pass}
"""


def load(folder: Path, text: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return load_suite(path)


def test_a_suite_is_read(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD)
    first, second, third = suite.prompts
    assert (suite.name, suite.sha256) == ("mine", hashlib.sha256(GOOD.encode()).hexdigest())
    assert (first.messages, first.text) == ((Message("user", "Day 1. Fog. Is there {fog}?"),), None)
    assert (first.thinking, first.max_tokens) == ("inject", 100)
    assert (second.thinking, len(first.checks)) == ("off", 2)
    assert (third.messages, third.text, third.max_tokens) == (None, "Question: 1 + 1\nAnswer:", 7)


def test_a_multiple_choice_is_asked_twice(tmp_path: Path) -> None:
    questions = load(tmp_path, GOOD).questions()
    assert [(each.id, each.prompt_id) for each in questions] == [
        ("first", "first"), ("second", "second"), ("second#rotated", "second"), ("third", "third"),
    ]  # fmt: skip
    plain, rotated = questions[1:3]
    assert plain.messages is not None
    assert rotated.messages is not None
    assert plain.messages[1].content == "Which?\nA) red\nB) green\nC) blue"
    assert rotated.messages[1].content == "Which?\nA) green\nB) blue\nC) red"
    assert [judge(plain.prompt, answer).passed for answer in ("A", "C", "red", "E")] == [True, False, True, False]
    assert [judge(rotated.prompt, answer).passed for answer in ("A", "C", "red")] == [False, True, True]
    assert (rotated.text, rotated.thinking, rotated.max_tokens) == (None, "off", 100)


@pytest.mark.parametrize("count", range(2, 11))
def test_every_letter_stands_for_another_option_once_rotated(count: int) -> None:
    options = Options(tuple(f"option {index}" for index in range(count)), count - 1)
    rotated = options.rotated()
    assert rotated.texts[rotated.right] == options.texts[options.right]
    assert sorted(rotated.texts) == sorted(options.texts)
    assert all(before != after for before, after in zip(options.texts, rotated.texts, strict=True))


def test_all_checks_must_hold_and_one_that_cannot_run_is_unavailable(tmp_path: Path) -> None:
    third = load(tmp_path, GOOD).prompts[2]
    code = "```python\ndef f(): pass\n```\nIt is {}."
    assert judge(third, code.format(2), Recorded(True)).passed is True
    assert judge(third, code.format(2), Recorded(None)).passed is None
    assert judge(third, code.format(3), Recorded(None)).passed is False
    assert judge(third, "<think>2", Recorded(True)).reasons == ("gives no answer, or none behind its reasoning",)


PROMPT: dict[str, Any] = {"id": "p", "category": "c", "prompt": "q", "checks": [{"exact": "a"}]}
CHOICE = {"prompt": "{options}", "options": ["a", "b"], "checks": [{"choice": "a"}]}


def refused(folder: Path, *prompts: Any, **top: Any) -> str:
    """Prompts one a line, from line 3 on."""
    lines = ["{name: n,", *(f"{json.dumps(key)}: {json.dumps(value)}," for key, value in top.items()), "prompts: ["]
    lines[-1:] = [lines[-1], *(f"{json.dumps(prompt)}," for prompt in prompts), "]}"]
    with pytest.raises(SuiteError) as caught:
        load(folder, "\n".join(lines))
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": None}, "id: input should be a valid string"),
        ({"id": "a b"}, "a b, id: string should match pattern"),
        ({"id": "a#rotated"}, "id: string should match"),
        ({"prompt": None}, "p: give exactly one of prompt, messages and raw"),
        ({"raw": "r"}, "p: give exactly one of prompt, messages and raw"),
        ({"prompt": ""}, "p, prompt: string should have at least 1 character"),
        (
            {"prompt": None, "messages": [{"role": "assistant", "content": "x"}]},
            "the last of the messages must be the user's",
        ),
        (
            {"prompt": None, "messages": [{"role": "robot", "content": "x"}]},
            "messages.0.role: input should be 'system'",
        ),
        ({"prompt": None, "raw": "r", "thinking": "off"}, "a raw prompt has no chat template"),
        ({"thinking": "maybe"}, "p, thinking: input should be 'on', 'off' or 'inject'"),
        ({"max_tokens": 0}, "p, max_tokens: input should be greater than"),
        ({"max_tokens": "12"}, "p, max_tokens: input should be a valid integer"),
        ({"temperature": 0.7}, "p, temperature: there is no such key"),
        ({"checks": []}, "p, checks: too few are given"),
        ({"checks": "exact"}, "p, checks: must be a list"),
        ({"checks": [{"equal": "a"}]}, "p, checks.0.equal: there is no such key"),
        ({"checks": [{"exact": "a", "any": "b"}]}, "p, checks.0: each entry of checks is one check"),
        ({"checks": [{"exact": 12}]}, "put it in quotes"),
        ({"checks": [{"exact": []}]}, "too few are given"),
        ({"checks": [{"number": "many"}]}, "'many' is no number"),
        ({"checks": [{"number": {"value": 1, "unit": "m"}}]}, "checks.0.number.unit: there is no such key"),
        ({"checks": [{"regex": "(a"}]}, "'(a' is no regular expression: missing )"),
        ({"checks": [{"json": {"oneOf": []}}]}, "unknown keyword 'oneOf'"),
        ({"checks": [{"code": {"defines": "f", "tests": "("}}]}, "the tests are no Python"),
        ({"checks": [{"code": {"defines": "f"}}]}, "checks.0.code.tests: is missing"),
        ({"checks": [{"choice": "a"}]}, "options and one check `choice` belong together"),
        ({"options": ["a", "b"]}, "options and one check `choice` belong together"),
        (CHOICE | {"options": ["a", "a"]}, "an option is given twice"),
        (CHOICE | {"options": ["b", "c"]}, "choice 'a' is none of the options"),
        (CHOICE | {"prompt": "q"}, "{options} must stand once"),
        ({"prompt": "{options}"}, "{options} must stand once"),
        ({"prompt": "{text:log}"}, "p: no text 'log' among the suite's texts"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    changed = {key: value for key, value in (PROMPT | changes).items() if value is not None or key == "id"}
    said = refused(tmp_path, PROMPT | {"id": "other"}, changed)
    assert said.startswith(f"{tmp_path / 'suite.yaml'}:4: ")
    assert message in said


def test_all_mistakes_are_told_at_once_and_ids_are_given_once(tmp_path: Path) -> None:
    said = refused(tmp_path, PROMPT | {"x": 1}, PROMPT | {"y": 1}, authors="me")
    assert [line.split(": ")[0].rsplit(":", 1)[1] for line in said.splitlines()] == ["4", "5", "2"]
    assert "'p' is given twice, first in line 3" in refused(tmp_path, PROMPT, PROMPT)
    assert "and 5 more" in refused(tmp_path, *[PROMPT | {"x": 1}] * 25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the file is empty"),
        ("a: [", ":1: no valid YAML"),
        ("- a", ":1: a suite is a mapping"),
        ("name: a\nname: b", ":2: the key 'name' is given twice"),
        ("name: &a\n  b: *a", "an alias that holds itself"),
        ("name: n", "prompts: is missing"),
        ("name: n\nprompts: []", ":2: prompts: too few are given"),
        ("name: 2026-01-01\nprompts: []", ":1: name: "),
    ],
)
def test_files_that_are_no_suite(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(tmp_path / "binary.yaml")
