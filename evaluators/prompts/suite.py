"""A suite of prompts: its questions, its two halves. `load_suite` reads one from YAML."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from evaluators.prompts.prompt import Message, Prompt, Question
from evaluators.prompts.suite_file import read_suite_file

__all__ = ["Message", "Prompt", "Question", "Suite", "load_suite"]
ROTATED = "#rotated"


@dataclass(frozen=True, slots=True)
class Suite:
    """`sha256`: of the file's bytes, in hexadecimal; a half keeps the whole file's."""

    name: str
    prompts: tuple[Prompt, ...]
    sha256: str

    def questions(self) -> tuple[Question, ...]:
        """The generations to make, in the suite's order: one a prompt, two of a multiple choice."""
        return tuple(_questions(self.prompts))

    def halves(self) -> tuple[Suite, Suite]:
        """(search half, report half), as equal within each category as can be: `NAME/search` and `NAME/report`.

        Within a category the prompts are ordered by a hash of their id and cut in the middle, so a prompt more or less
        moves at most one other, of its own category. Where every category has one prompt only and all would fall into
        one half, the suite is cut as one category. Of a suite of one prompt a half is empty.
        """
        categories = sorted({prompt.category for prompt in self.prompts})
        search = {
            prompt_id
            for category in categories
            for prompt_id in _first_half(category, (each.id for each in self.prompts if each.category == category))
        }
        if len(self.prompts) > 1 and len(search) in (0, len(self.prompts)):
            search = _first_half("", (each.id for each in self.prompts))
        inside = tuple(each for each in self.prompts if each.id in search)
        outside = tuple(each for each in self.prompts if each.id not in search)
        return Suite(f"{self.name}/search", inside, self.sha256), Suite(f"{self.name}/report", outside, self.sha256)


def load_suite(path: Path) -> Suite:
    """Raises SuiteError, each line of its message with file and line, where the file is not as docs/prompts.md says."""
    name, prompts = read_suite_file(path)
    return Suite(name, prompts, hashlib.sha256(path.read_bytes()).hexdigest())


def _questions(prompts: Iterable[Prompt]) -> Iterator[Question]:
    for prompt in prompts:
        yield Question(prompt.id, prompt.id, prompt)
        if prompt.rotated is not None:
            yield Question(f"{prompt.id}{ROTATED}", prompt.id, prompt.rotated)


def _first_half(category: str, prompt_ids: Iterable[str]) -> set[str]:
    """The middle one of an odd number goes where the category's own hash says, so that no category moves another's."""
    ordered = sorted(prompt_ids, key=_hash)
    return set(ordered[: (len(ordered) + _hash(category) % 2) // 2])


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
