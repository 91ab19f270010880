"""The verdict on one answer, and what every check is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from evaluators.prompts.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Judgement:
    """`passed` is None where a check could not be run here. `reasons` say what failed or could not run."""

    passed: bool | None
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, passed: bool, reason: str) -> Judgement:
        """`reason` says what is wrong, and is kept only where something is."""
        return cls(passed, () if passed else (reason,))

    @classmethod
    def all_of(cls, judgements: Iterable[Judgement]) -> Judgement:
        """Failed where one failed, else unavailable where one is, else passed."""
        parts = tuple(judgements)
        verdicts = {part.passed for part in parts}
        passed = False if False in verdicts else None if None in verdicts else True
        return cls(passed, tuple(reason for part in parts for reason in part.reasons))


class Check(Protocol):
    """A property that the final answer must have."""

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement: ...


class CheckSettings(BaseModel):
    """Base of the checks: read from a suite, unknown keys refused, never changed.

    What is no mapping is the short form: the value of the key `value`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"value": given}


def shortened(text: str, longest: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
