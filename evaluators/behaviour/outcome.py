"""What came of a suite: an answer for every question, an outcome for every prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluators.generation.transcript import Transcript
from evaluators.repetition import Verdict

ENDLESS = frozenset({Verdict.LOOP, Verdict.NEAR_LOOP})
_FROM_BEST = (Verdict.STOPPED, Verdict.OUT_OF_TOKENS, Verdict.NEAR_LOOP, Verdict.LOOP)


@dataclass(frozen=True, slots=True)
class Answer:
    """One generation with its judgement. `passed` is the checks' verdict, None where they could not be run."""

    transcript: Transcript
    passed: bool | None
    reasons: tuple[str, ...] = ()

    @property
    def solved(self) -> bool | None:
        """All checks hold and the generation stopped by itself; what ran on is not solved, whatever the checks say."""
        return self.passed if self.transcript.ending.verdict is Verdict.STOPPED else False


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """A prompt with all its answers: one, or two of a multiple-choice prompt that is asked in two orders."""

    prompt_id: str
    category: str
    answers: tuple[Answer, ...]

    @property
    def solved(self) -> bool | None:
        """True where every answer is; None (unavailable) where none is wrong and one could not be judged."""
        verdicts = [answer.solved for answer in self.answers]
        return False if False in verdicts else None if None in verdicts else True

    @property
    def verdict(self) -> Verdict:
        """The worst ending of its answers."""
        return max((answer.transcript.ending.verdict for answer in self.answers), key=_FROM_BEST.index)

    @property
    def is_endless(self) -> bool:
        return self.verdict in ENDLESS


@dataclass(frozen=True)
class BehaviourResult:
    """One model on one suite. `generation`: how it was generated (seconds, tokens a second, batch shape), JSON-able."""

    suite_sha256: str
    prompts: tuple[PromptOutcome, ...]
    generation: Mapping[str, Any]

    @property
    def transcripts(self) -> dict[str, Transcript]:
        """Question id -> its transcript."""
        return {
            answer.transcript.question_id: answer.transcript for prompt in self.prompts for answer in prompt.answers
        }
