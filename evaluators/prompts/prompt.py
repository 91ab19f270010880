"""What is asked: a prompt with the checks on its answer, and the questions that are put to a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evaluators.prompts.verdict import Check

Thinking = Literal["on", "off", "inject"]


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Exactly one of `messages` (rendered with the model's chat template) and `text` (raw, as it stands) is given.

    thinking: as the template does it ("on", "off"), or "inject": an empty reasoning block opens the answer.
    max_tokens: of the whole generation, reasoning included. `rotated`: multiple choice with its options moved.
    """

    id: str
    category: str
    messages: tuple[Message, ...] | None
    text: str | None
    thinking: Thinking
    max_tokens: int
    checks: tuple[Check, ...]
    rotated: Prompt | None = None

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.text is None):
            raise ValueError(f"prompt {self.id}: give either messages or raw text")


@dataclass(frozen=True, slots=True)
class Question:
    """One generation to make; `prompt` has the checks of this one."""

    id: str
    prompt_id: str
    prompt: Prompt

    @property
    def messages(self) -> tuple[Message, ...] | None:
        return self.prompt.messages

    @property
    def text(self) -> str | None:
        return self.prompt.text

    @property
    def thinking(self) -> Thinking:
        return self.prompt.thinking

    @property
    def max_tokens(self) -> int:
        return self.prompt.max_tokens
