"""Multiple choice: options in their own order and rotated, so that a favourite letter cannot pass by luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from evaluators.prompts.answers import final_letter
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import Judgement

PLACEHOLDER = "{options}"
MOST_OPTIONS = 10


@dataclass(frozen=True, slots=True)
class Options:
    """The options in the order in which they are shown; `right` is the index of the right one."""

    texts: tuple[str, ...]
    right: int

    def rotated(self) -> Options:
        """Moved by half their number, so that every letter stands for another option."""
        shift = len(self.texts) // 2
        return Options(self.texts[shift:] + self.texts[:shift], (self.right - shift) % len(self.texts))

    def shown(self) -> str:
        return "\n".join(f"{letter}) {text}" for letter, text in zip(ascii_uppercase, self.texts, strict=False))

    def check(self) -> LetterCheck:
        return LetterCheck(ascii_uppercase[self.right], self.texts)


@dataclass(frozen=True, slots=True)
class LetterCheck:
    """The answer chooses `letter`; an answer that is an option's text, and nothing else, chooses it too."""

    letter: str
    options: Sequence[str]

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        letters = ascii_uppercase[: len(self.options)]
        chosen = final_letter(answer, letters) or self._by_text(answer, letters)
        said = f"chooses {chosen}" if chosen else "chooses none of the options"
        return Judgement.of(chosen == self.letter, f"{said}, not {self.letter}")

    def _by_text(self, answer: str, letters: str) -> str | None:
        bare = answer.strip(" \t\n.*").casefold()
        texts = [text.strip(" \t\n.*").casefold() for text in self.options]
        return letters[texts.index(bare)] if bare in texts else None
