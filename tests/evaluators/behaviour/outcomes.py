"""Outcomes written by hand."""

from evaluators.behaviour.outcome import Answer, PromptOutcome
from evaluators.generation.transcript import Transcript
from evaluators.repetition import Ending, Repetition, Verdict

STOPPED, LIMIT, NEAR, LOOP = Verdict.STOPPED, Verdict.OUT_OF_TOKENS, Verdict.NEAR_LOOP, Verdict.LOOP


def transcript(
    question_id: str = "p", verdict: Verdict = STOPPED, tokens: tuple[int, ...] = (1, 2, 3), text: str = "47"
) -> Transcript:
    repetition = Repetition(1, 2, 200) if verdict in (NEAR, LOOP) else None
    return Transcript(
        question_id=question_id,
        prompt_tokens=7,
        tokens=tokens,
        text=text,
        ending=Ending(verdict, repetition),
        thinking_tokens=2,
        seconds=0.5,
    )


def outcome(
    prompt_id: str, passed: bool | None = True, verdict: Verdict = STOPPED, *, category: str = "arithmetic"
) -> PromptOutcome:
    return PromptOutcome(prompt_id, category, (Answer(transcript(prompt_id, verdict), passed),))


def outcomes(**passed: bool | None) -> list[PromptOutcome]:
    """One prompt a name, all of them stopped."""
    return [outcome(name, each) for name, each in passed.items()]
