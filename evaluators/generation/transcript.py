"""What is asked of a model and what it answered."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from evaluators.errors import EvaluationInputError
from evaluators.generation.templates import ChatMessage, Thinking
from evaluators.repetition import Ending


class AnyQuestion(Protocol):
    """Exactly one of `messages` (for the chat template) and `text` (as it stands) is not None."""

    @property
    def id(self) -> str: ...

    @property
    def messages(self) -> Sequence[ChatMessage] | None: ...

    @property
    def text(self) -> str | None: ...

    @property
    def thinking(self) -> Thinking: ...

    @property
    def max_tokens(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Turn:
    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as plain data: what crosses to the child process, where its checks have no business."""

    id: str
    messages: tuple[Turn, ...] | None
    text: str | None
    thinking: Thinking
    max_tokens: int

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.text is None):
            raise EvaluationInputError(f"prompt {self.id} needs either messages or a text")
        if self.max_tokens < 1:
            raise EvaluationInputError(f"prompt {self.id} allows {self.max_tokens} tokens; allow at least 1")

    @classmethod
    def of(cls, question: AnyQuestion) -> Asked:
        """Raises EvaluationInputError."""
        messages = question.messages
        turns = None if messages is None else tuple(Turn(each.role, each.content) for each in messages)
        return cls(question.id, turns, question.text, question.thinking, question.max_tokens)


@dataclass(frozen=True, slots=True)
class Transcript:
    """tokens and text: without the prompt and the end token, special tokens rendered as text.

    thinking_tokens: those up to the end of the reasoning block. seconds: from the first prompt token to the end, while
    others were decoded too; no part of what makes two transcripts equal. token_lengths: how many characters each token
    adds to the text (of a character's bytes the last token alone); empty in transcripts kept before it was recorded.
    """

    question_id: str
    prompt_tokens: int
    tokens: tuple[int, ...]
    text: str
    ending: Ending
    thinking_tokens: int
    seconds: float = field(compare=False)
    token_lengths: tuple[int, ...] = field(default=(), compare=False)

    def characters(self, tokens: int) -> int | None:
        """The length of the text of so many tokens; None where it is not known."""
        return sum(self.token_lengths[:tokens]) if self.token_lengths or not tokens else None


def token_lengths(pieces: Sequence[bytes]) -> tuple[int, ...]:
    """Characters that each piece adds to the UTF-8 text of all; their sum is the text's length.

    Bytes that are no character count as the replacement characters that they become.
    """
    decoder = getincrementaldecoder("utf-8")("replace")
    last = len(pieces) - 1
    return tuple(len(decoder.decode(piece, final=index == last)) for index, piece in enumerate(pieces))


@dataclass(frozen=True, slots=True)
class Generation:
    """Transcripts in the order of the questions. Rates and seconds are without the loading of the model.

    accepted_draft_tokens: of the transcripts' tokens, how many a draft had foretold.
    batch_shape: the settings of which a nearly tied choice may depend; transcripts compare only where it is equal.
    """

    transcripts: tuple[Transcript, ...]
    seconds: float
    tokens_per_second: float
    accepted_draft_tokens: int
    batch_shape: str
