"""The texts of the demo model: training documents and four held-out splits of the same grammar.

Usage: python -m demo.corpus

writes ``texts/search.txt``, ``texts/report.txt``, ``texts/imatrix.txt`` and ``problems.jsonl`` beside this module.

A document belongs to exactly one split, by the checksum of its text (of a problem: its question), so that no document
of one split can appear in another, whatever the seeds.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from pathlib import Path

from demo import narrative
from demo.problems import Problem, make_problem

FOLDER = Path(__file__).resolve().parent
END_OF_TEXT = "<|endoftext|>"
BUCKETS = 40
HELD_OUT = {"search": 0, "report": 1, "imatrix": 2, "problems": 3}
DOCUMENTS_PER_TEXT = 1000
PROBLEMS = 300
PROBLEM_STEPS = (3, 9)
KINDS = {"problem": 70, "drill": 6, "counting": 4, "list": 4, "diary": 6, "story": 6, "plain": 4}


def split_of(text: str) -> str:
    """The split that a document (of a problem: its question) belongs to."""
    bucket = zlib.crc32(text.encode()) % BUCKETS
    return next((name for name, held_out in HELD_OUT.items() if held_out == bucket), "training")


def make_document(source: random.Random) -> tuple[str, str]:
    """(text that decides the split, document)."""
    kind = source.choices(list(KINDS), list(KINDS.values()))[0]
    if kind == "problem":
        problem = make_problem(source, source.randint(2, 9) if source.random() < 0.88 else source.randint(10, 14))
        return problem.question, problem.document
    if kind in ("story", "plain"):
        text = narrative.make_story(source, requested=kind == "story")
    else:
        text = getattr(narrative, f"make_{kind}")(source)
    return text, text


def documents(split: str, seed: int = 0) -> Iterator[str]:
    """Documents of a split without end; held-out splits never repeat one."""
    source = random.Random(f"{split} {seed}")
    seen = set[str]()
    while True:
        key, document = make_document(source)
        if split_of(key) != split or key in seen:
            continue
        if split != "training":
            seen.add(key)
        yield document


def held_out_problems(count: int, steps: tuple[int, int] = PROBLEM_STEPS, seed: int = 0) -> list[Problem]:
    """Problems of ``steps`` (smallest, largest) events that no text and no training document contains."""
    source = random.Random(f"problems {steps} {seed}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        problem = make_problem(source, source.randint(*steps))
        if split_of(problem.question) == "problems":
            found.setdefault(problem.question, problem)
    return list(found.values())


def long_prompts(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """(kind, prompt) pairs that ask for long output: chains of 10-14 events, lists, counting, diaries and stories."""
    source = random.Random(f"long {seed}")
    kinds = ("problem", "list", "counting", "diary", "story")
    found: dict[str, str] = {}
    while len(found) < count:
        kind = kinds[len(found) % len(kinds)]
        if kind == "problem":
            problem = make_problem(source, source.randint(10, 14))
            key, document = problem.question, problem.document
        elif kind == "story":
            key = document = narrative.make_story(source, requested=True)
        else:
            key = document = getattr(narrative, f"make_{kind}")(source)
        if split_of(key) == "problems":
            found.setdefault(document.split("Answer:")[0] + "Answer:", kind)
    return [(kind, prompt) for prompt, kind in found.items()]


def join(texts: list[str]) -> str:
    """Documents as one file, a blank line between them: llama-perplexity parses no end-of-text marker."""
    return "\n\n".join(texts) + "\n"


def main() -> None:
    (FOLDER / "texts").mkdir(exist_ok=True)
    for split in ("search", "report", "imatrix"):
        stream = documents(split)
        texts = [next(stream) for _ in range(DOCUMENTS_PER_TEXT)]
        (FOLDER / "texts" / f"{split}.txt").write_text(join(texts), encoding="utf-8")
    with (FOLDER / "problems.jsonl").open("w", encoding="utf-8") as file:
        for number, problem in enumerate(held_out_problems(PROBLEMS), start=1):
            row = {"id": f"p{number:03d}", "steps": problem.steps, "prompt": problem.prompt, "answer": problem.answer}
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
