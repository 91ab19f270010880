"""The grammar of the demo texts: answers are right, splits are disjoint, a seed gives the same texts again."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from demo import corpus
from demo.events import LARGEST
from demo.problems import Problem, make_problem

CALCULATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)(?: (\w+))?")
SPLITS = ("search", "report", "imatrix", "problems", "training")


def evaluate(left: int, operator: str, right: int) -> int:
    if operator == "/":
        assert left % right == 0
        return left // right
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def replay(problem: Problem) -> int:
    """Work the problem from its first sentence and the worked steps, trusting no result written there."""
    start = re.match(r"\w+ has (\d+) (\w+) and (\d+) (\w+)\.", problem.question)
    assert start is not None
    counts = {start[2]: int(start[1]), start[4]: int(start[3])}
    for left, operator, right, result, item in CALCULATION.findall(problem.worked):
        value = evaluate(int(left), operator, int(right))
        assert value == int(result)
        assert 0 <= value <= LARGEST
        if item:
            assert int(left) == counts[item]
            counts[item] = value
    asked = re.search(r"How many (\w+)(?: and (\w+))? does", problem.question)
    assert asked is not None
    return sum(counts[item] for item in asked.groups() if item)


@pytest.mark.parametrize("steps", [1, 3, 9, 14])
def test_worked_answers_are_right(steps: int) -> None:
    source = random.Random(steps)
    for _ in range(200):
        problem = make_problem(source, steps)
        assert replay(problem) == problem.answer
        assert problem.worked.endswith(f"The answer is {problem.answer}.")


def test_every_event_is_worked_and_no_scenery() -> None:
    problem = make_problem(random.Random(7), 9)
    worked = [line.split(":")[0] for line in problem.worked.split(". ") if ":" in line]
    assert len(worked) == 9
    assert all(f"{event}." in problem.question for event in worked)


def test_splits_are_disjoint() -> None:
    texts = {split: set(islice(corpus.documents(split), 300)) for split in SPLITS}
    for split in SPLITS:
        others = set.union(*(texts[other] for other in SPLITS if other != split))
        assert not texts[split] & others


def test_problems_are_in_no_other_split() -> None:
    assert all(corpus.split_of(problem.question) == "problems" for problem in corpus.held_out_problems(50))


def test_a_seed_gives_the_same_documents() -> None:
    assert list(islice(corpus.documents("search", 3), 20)) == list(islice(corpus.documents("search", 3), 20))
    assert list(islice(corpus.documents("search", 3), 20)) != list(islice(corpus.documents("search", 4), 20))


def test_committed_texts_are_what_the_corpus_makes() -> None:
    for split in ("search", "report", "imatrix"):
        text = (corpus.FOLDER / "texts" / f"{split}.txt").read_text(encoding="utf-8")
        assert text.startswith(corpus.join(list(islice(corpus.documents(split), 20)))[:-1])
