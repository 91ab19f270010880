"""Checks on the words of an answer: exact text, strings that must or must not occur."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import CheckSettings, Judgement, shortened


def _one_or_more(given: Any) -> Any:
    return given if isinstance(given, list) else [given]


NotEmpty = Annotated[str, Field(min_length=1)]
Strings = Annotated[tuple[NotEmpty, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
DECORATION = "*_`\"'“”‘’«» \t\n"


class Exact(CheckSettings):
    """The answer is one of the values, but for white space, emphasis, quotation marks and a final full stop."""

    value: Strings
    case_sensitive: bool = False

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        said = _bare(answer, self.case_sensitive)
        passed = any(said == _bare(value, self.case_sensitive) for value in self.value)
        return Judgement.of(passed, f"says {shortened(answer)!r}, not {_listed(self.value)}")


class _Occurrence(CheckSettings):
    value: Strings
    case_sensitive: bool = False

    def found(self, answer: str) -> tuple[str, ...]:
        """The strings that occur as whole words, whatever white space stands between their words."""
        flags = 0 if self.case_sensitive else re.IGNORECASE
        text = plain_marks(answer)
        return tuple(value for value in self.value if re.search(_whole_words(value), text, flags))


class AllOf(_Occurrence):
    """Every string occurs."""

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        found = self.found(answer)
        missing = [value for value in self.value if value not in found]
        return Judgement.of(not missing, f"does not say {_listed(missing)}")


class AnyOf(_Occurrence):
    """At least one string occurs."""

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        return Judgement.of(bool(self.found(answer)), f"says none of {_listed(self.value)}")


class NoneOf(_Occurrence):
    """No string occurs."""

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        found = self.found(answer)
        return Judgement.of(not found, f"says {_listed(found)}, which it must not")


def plain_marks(text: str) -> str:
    """Typographic quotation marks and hyphens as a keyboard writes them; marks of emphasis left out."""
    text = re.sub("[‘’]", "'", re.sub("[“”]", '"', text))
    return re.sub(r"\*\*|(?<!\w)[*_]|[*_](?!\w)", "", re.sub("[‐‑]", "-", text))


def _whole_words(value: str) -> str:
    words = [re.escape(word) for word in plain_marks(value).split()]
    before = r"(?<!\w)" if value[:1].isalnum() else ""
    after = r"(?!\w)" if value[-1:].isalnum() else ""
    return before + r"\s+".join(words) + after


def _bare(text: str, case_sensitive: bool) -> str:
    text = " ".join(plain_marks(text).split()).strip(DECORATION)
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1].rstrip(DECORATION)
    return text if case_sensitive else text.casefold()


def _listed(values: list[str] | tuple[str, ...]) -> str:
    return ", ".join(map(repr, values))
