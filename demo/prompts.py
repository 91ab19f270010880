"""The demo model's prompt suite: unseen problems, and prompts for long output on which coarse quantizations run on.

Usage: python -m demo.prompts

writes ``prompts/demo.yaml``. All prompts belong to the split ``problems``, apart from all texts and training documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from demo.corpus import held_out_problems, long_prompts

PATH = Path(__file__).resolve().parents[1] / "prompts" / "demo.yaml"
PROBLEMS = 62  # the first of problems.jsonl
CHAINS, CHAIN_STEPS = 12, (10, 14)
# Of the 60 long prompts in README.md, by kind: all lists, since those are what Q2_K never ends.
LONG_PROMPTS = 60
KEPT = {"list": 12, "counting": 4, "diary": 5, "story": 5}
# The model has learned contexts of 512 tokens. F16's longest answers: 177 to a problem, 271 to a chain, 256 others.
PROBLEM_TOKENS = 320
LONG_TOKENS = 470
HEADER = """\
# The demo model's suite: word problems of 3-9 events, chains of 10-14, lists, counting, diaries and stories, none of
# which a text or a training document of the model holds. Made by `python -m demo.prompts`.
"""

Checks = list[dict[str, Any]]


def number_checks(answer: int) -> Checks:
    return [{"number": answer}]


def list_checks(prompt: str) -> Checks:
    """As many lines as asked for, of the form "3. 12 red apples"."""
    (length,) = re.findall(r"a list of (\d+) things", prompt)
    return [{"regex": rf"^(?:\d+\. \d+ \w+ \w+(?:\n|$)){{{length}}}$"}]


def counting_checks(prompt: str) -> Checks:
    """The numbers asked for, in order; the model counts right, but on past the last."""
    ((first, last, step),) = re.findall(r"from (\d+) to (\d+) by (\d+)", prompt)
    up = int(last) > int(first)
    numbers = range(int(first), int(last) + (1 if up else -1), int(step) if up else -int(step))
    return [{"all": [", ".join(map(str, numbers))]}]


def diary_checks(prompt: str) -> Checks:
    """Each day with its count, the last one aside: the model carries the count right, but ends a day early or late."""
    ((days, start, thing, change),) = re.findall(r"for (\d+) days\. \w+ had (\d+) (\w+) and found (\d+)", prompt)
    before_last = range(1, int(days))
    counts = [f"had {int(start) + day * int(change)} {thing}." for day in before_last]
    return [{"all": [f"Day {day}:" for day in before_last]}, {"all": counts}]


def story_checks(prompt: str) -> Checks:
    """Every part is there and none behind the last."""
    ((name, parts),) = re.findall(r"about (\w+) in (\d+) parts", prompt)
    return [
        {"all": [name, *(f"Part {part}:" for part in range(1, int(parts) + 1))]},
        {"none": [f"Part {int(parts) + 1}:"]},
    ]


CHECKS_OF = {"list": list_checks, "counting": counting_checks, "diary": diary_checks, "story": story_checks}


def entries() -> Iterator[tuple[str, str, int, Checks]]:
    """(category, prompt, max_tokens, checks)"""
    for problem in held_out_problems(PROBLEMS):
        yield "problem", problem.prompt, PROBLEM_TOKENS, number_checks(problem.answer)
    for problem in held_out_problems(CHAINS, CHAIN_STEPS):
        yield "chain", problem.prompt, PROBLEM_TOKENS, number_checks(problem.answer)
    by_kind: dict[str, list[str]] = {kind: [] for kind in KEPT}
    for kind, prompt in long_prompts(LONG_PROMPTS):
        if kind in KEPT:
            by_kind[kind].append(prompt)
    for kind, count in KEPT.items():
        for prompt in by_kind[kind][:count]:
            yield kind, prompt, LONG_TOKENS, CHECKS_OF[kind](prompt)


def make_suite() -> str:
    return HEADER + "\n".join(["name: demo", "prompts:", *_lines(entries())]) + "\n"


def _lines(rows: Iterable[tuple[str, str, int, Checks]]) -> Iterator[str]:
    """JSON's strings, numbers and lists are YAML's too."""
    counts: dict[str, int] = {}
    for category, prompt, max_tokens, checks in rows:
        counts[category] = counts.get(category, 0) + 1
        yield f"  - id: {category}-{counts[category]:02d}"
        yield f"    category: {category}"
        yield f"    raw: {json.dumps(prompt)}"
        yield f"    max_tokens: {max_tokens}"
        yield "    checks:"
        for check in checks:
            ((name, value),) = check.items()
            yield f"      - {name}: {json.dumps(value)}"


def main() -> None:
    PATH.write_text(make_suite(), encoding="utf-8")


if __name__ == "__main__":
    main()
