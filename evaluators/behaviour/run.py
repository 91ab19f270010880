"""Generate a suite's answers with one model, and judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from evaluators.behaviour.outcome import Answer, BehaviourResult, PromptOutcome
from evaluators.evaluator import Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation, Transcript
from evaluators.prompts.checks import judge
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.suite import Suite


class Answering(Protocol):
    """The part of an evaluator that answers questions."""

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation: ...


def run_suite(
    evaluator: Answering,
    model_paths: Sequence[Path],
    suite: Suite,
    settings: GenerationSettings,
    reference_transcripts: Mapping[str, Transcript] | None = None,
    *,
    sandbox: Sandbox | None = None,
    progress: Progress | None = None,
) -> BehaviourResult:
    """The model's own greedy answers to every question. Raises EvaluationError.

    reference_transcripts: question id -> transcript, used as drafts where the settings speculate; they change how fast
    the answers come, not what they are.
    """
    drafts = {name: each.tokens for name, each in (reference_transcripts or {}).items()} if settings.speculative else {}
    made = evaluator.generate(model_paths, suite.questions(), settings, drafts or None, progress)
    transcripts = {transcript.question_id: transcript for transcript in made.transcripts}
    how: dict[str, Any] = {
        "seconds": made.seconds,
        "tokens_per_second": made.tokens_per_second,
        "accepted_draft_tokens": made.accepted_draft_tokens,
        "batch_shape": made.batch_shape,
    }
    return BehaviourResult(suite.sha256, judge_all(suite, transcripts, sandbox), how)


def judge_all(
    suite: Suite, transcripts: Mapping[str, Transcript], sandbox: Sandbox | None = None
) -> tuple[PromptOutcome, ...]:
    """Outcomes in the suite's order, from the transcripts of all its questions."""
    answers: dict[str, list[Answer]] = {prompt.id: [] for prompt in suite.prompts}
    for question in suite.questions():
        transcript = transcripts[question.id]
        judgement = judge(question.prompt, transcript.text, sandbox)
        answers[question.prompt_id].append(Answer(transcript, judgement.passed, judgement.reasons))
    return tuple(PromptOutcome(prompt.id, prompt.category, tuple(answers[prompt.id])) for prompt in suite.prompts)
