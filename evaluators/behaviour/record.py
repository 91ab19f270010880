"""Results as JSON: what a database keeps, and the lines of a transcripts file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from evaluators.behaviour.outcome import Answer, BehaviourResult, PromptOutcome
from evaluators.behaviour.scores import diverge
from evaluators.generation.transcript import Transcript
from evaluators.repetition import Ending, Repetition, Verdict


def prompts_as_json(result: BehaviourResult) -> list[dict[str, Any]]:
    """Every outcome with its whole transcripts; `prompts_from_json` gives the same back."""
    return [
        {
            "id": prompt.prompt_id,
            "category": prompt.category,
            "answers": [answer_as_json(answer) for answer in prompt.answers],
        }
        for prompt in result.prompts
    ]


def prompts_from_json(prompts: Iterable[Mapping[str, Any]]) -> tuple[PromptOutcome, ...]:
    return tuple(
        PromptOutcome(prompt["id"], prompt["category"], tuple(_answer(each) for each in prompt["answers"]))
        for prompt in prompts
    )


def transcript_lines(
    result: BehaviourResult, model: str, reference: Mapping[str, Transcript] | None = None
) -> list[dict[str, Any]]:
    """One object a generation, for people and programs that read transcripts; `model` names whose it is."""
    lines = []
    for prompt in result.prompts:
        for answer in prompt.answers:
            theirs = (reference or {}).get(answer.transcript.question_id)
            divergence = diverge(answer.transcript, theirs) if theirs is not None else None
            lines.append(
                {
                    "model": model,
                    "prompt": prompt.prompt_id,
                    "category": prompt.category,
                    "solved": answer.solved,
                    "first_divergence": divergence.first if divergence else None,
                    "agreement_tokens": divergence.agreement if divergence else None,
                    **answer_as_json(answer),
                }
            )
    return lines


def answer_as_json(answer: Answer) -> dict[str, Any]:
    transcript, repetition = answer.transcript, answer.transcript.ending.repetition
    return {
        "question": transcript.question_id,
        "passed": answer.passed,
        "reasons": list(answer.reasons),
        "ending": transcript.ending.verdict.value,
        "repetition": repetition and [repetition.onset, repetition.period, repetition.length],
        "prompt_tokens": transcript.prompt_tokens,
        "thinking_tokens": transcript.thinking_tokens,
        "seconds": transcript.seconds,
        "text": transcript.text,
        "tokens": list(transcript.tokens),
        "token_lengths": list(transcript.token_lengths),
    }


def _answer(kept: Mapping[str, Any]) -> Answer:
    repetition = Repetition(*kept["repetition"]) if kept["repetition"] else None
    transcript = Transcript(
        question_id=kept["question"],
        prompt_tokens=kept["prompt_tokens"],
        tokens=tuple(kept["tokens"]),
        text=kept["text"],
        ending=Ending(Verdict(kept["ending"]), repetition),
        thinking_tokens=kept["thinking_tokens"],
        seconds=kept["seconds"],
        token_lengths=tuple(kept.get("token_lengths", ())),
    )
    return Answer(transcript, kept["passed"], tuple(kept["reasons"]))
