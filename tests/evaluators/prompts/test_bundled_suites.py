"""The suites in `prompts/`: every answer was worked, and the checks tell a good one from a bad one."""

import hashlib
import re
from pathlib import Path

import pytest

from demo.corpus import held_out_problems
from demo.problems import Problem
from demo.prompts import CHAIN_STEPS, CHAINS, PATH, PROBLEMS, make_suite
from evaluators.prompts.checks import judge
from evaluators.prompts.given_answers import judge_answers, read_answers
from evaluators.prompts.sandbox import Bubblewrap
from evaluators.prompts.suite import Suite, load_suite
from tests.evaluators.prompts.sandboxes import fake_bwrap

ROOT = Path(__file__).resolve().parents[3]
ANSWERS = Path(__file__).with_name("answers")


def suite(name: str) -> Suite:
    return load_suite(ROOT / "prompts" / f"{name}.yaml")


@pytest.mark.parametrize("name", ["core", "goldcoin"])
@pytest.mark.parametrize(("kind", "passed"), [("good", True), ("bad", False)])
def test_good_answers_pass_and_bad_ones_do_not(tmp_path: Path, name: str, kind: str, passed: bool) -> None:
    loaded = suite(name)
    answers = read_answers(ANSWERS / f"{name}-{kind}.yaml", loaded)
    verdicts = judge_answers(loaded, answers, Bubblewrap(fake_bwrap(tmp_path)))
    wrong = {
        each.prompt_id: each.judgement for each in verdicts if not each.judgement or each.judgement.passed is not passed
    }
    assert wrong == {}
    assert len(verdicts) == len(loaded.prompts)


def test_core_has_every_kind_of_prompt() -> None:
    prompts = suite("core").prompts
    assert len(prompts) >= 40
    categories = [prompt.category for prompt in prompts]
    kinds = ("reasoning", "arithmetic", "instruction", "code", "extraction", "translation", "needle")
    assert {kind: categories.count(kind) >= 5 for kind in kinds} == dict.fromkeys(kinds, True)
    assert set(categories) == set(kinds)


@pytest.mark.parametrize(
    ("detail", "times"),
    [
        ("KESTREL-58", 1),
        ("blue bottle", 1),
        ("Day 47. ", 1),
        ("barrels of oil", 3),
        ("silver spoon", 1),
        ("third step", 1),
    ],
)
def test_the_log_says_each_detail_as_often_as_the_answers_need(detail: str, times: int) -> None:
    (log,) = {
        prompt.messages[0].content for prompt in suite("core").prompts if prompt.id == "log-ship" and prompt.messages
    }
    assert log.count(detail) == times
    assert sum(map(int, re.findall(r"(\d+) barrels", log))) == 40


def test_goldcoin_is_word_for_word() -> None:
    (prompt,) = suite("goldcoin").prompts
    assert prompt.messages is not None
    digest = hashlib.sha256(prompt.messages[0].content.encode()).hexdigest()
    assert digest == "6b2fd66acb3f45a7b7eabf6c6d03447000b9c6b682ceb3c5b95d94acead6e930"


def test_the_demo_suite_is_made_again_to_the_byte() -> None:
    assert PATH.read_text(encoding="utf-8") == make_suite()


def test_the_demo_suite_judges_the_worked_answers_right(demo_problems: dict[str, Problem]) -> None:
    problems = [prompt for prompt in suite("demo").prompts if prompt.category in ("problem", "chain")]
    assert len(problems) == PROBLEMS + CHAINS
    for prompt in problems:
        problem = demo_problems[prompt.text or ""]
        assert judge(prompt, " " + problem.worked).passed
        wrong = problem.worked.replace(f"The answer is {problem.answer}.", f"The answer is {problem.answer + 1}.")
        assert judge(prompt, " " + wrong).passed is False


@pytest.fixture(scope="module")
def demo_problems() -> dict[str, Problem]:
    found = [*held_out_problems(PROBLEMS), *held_out_problems(CHAINS, CHAIN_STEPS)]
    return {problem.prompt: problem for problem in found}


@pytest.mark.parametrize(
    ("category", "good", "bad"),
    [
        (
            "list",
            lambda n: "\n" + "\n".join(f"{k}. 12 red apples" for k in range(1, n + 1)),
            lambda good: good + "\n99. 3 old",
        ),
        (
            "story",
            lambda n: "\n".join(f"Part {k}: {{name}} ran home." for k in range(1, n + 1)),
            lambda good: good[:-30],
        ),
    ],
)
def test_the_demo_suite_judges_long_output(category: str, good, bad) -> None:  # type: ignore[no-untyped-def]
    for prompt in [prompt for prompt in suite("demo").prompts if prompt.category == category][:3]:
        asked = re.search(r"(\d+) (?:things|parts)", prompt.text or "")
        name = re.search(r"about (\w+)", prompt.text or "")
        assert asked is not None
        answer = good(int(asked[1])).replace("{name}", name[1] if name else "")
        assert judge(prompt, answer).passed
        assert judge(prompt, bad(answer)).passed is False


def test_the_demo_suite_judges_counts() -> None:
    prompts = {prompt.id: prompt for prompt in suite("demo").prompts}
    counted = prompts["counting-01"]
    assert counted.text == "Question: Count down from 83 to 69 by 1.\nAnswer:"
    assert judge(counted, " " + ", ".join(map(str, range(83, 60, -1))) + ".").passed
    assert judge(counted, " " + ", ".join(map(str, range(83, 70, -1))) + ".").passed is False
    diary = prompts["diary-01"]
    assert diary.text is not None
    assert "for 12 days. Nora had 22 shells and found 4 shells a day." in diary.text
    lines = [f"Day {day}: Nora ran home and had {22 + 4 * day} shells." for day in range(1, 14)]
    assert judge(diary, "\n".join(lines)).passed
    assert judge(diary, "\n".join([*lines[:5], *lines[6:]])).passed is False


def test_the_examples_of_the_page_are_suites(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "prompts.md").read_text(encoding="utf-8")
    whole, part = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "suite.yaml").write_text(whole + part, encoding="utf-8")
    assert [prompt.id for prompt in load_suite(tmp_path / "suite.yaml").prompts] == ["bottle", "short", "p001", "turns"]
