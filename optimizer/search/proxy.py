"""A cheap first look before the gate: KLD on the source's own answers, scored like any text; nothing is generated.

A candidate that is clearly behind the incumbent there, chunk by chunk, is kept out at once.
"""

import hashlib
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.generation.transcript import Transcript
from evaluators.prompts.prompt import Question
from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.best import KEPT_OUT
from optimizer.search.context import SearchContext
from optimizer.search.measuring import Measurer
from optimizer.search.racing import compare
from optimizer.search.suites import Questions
from optimizer.search.texts import TextChoice, prepare_text
from optimizer.text_files import write_text
from optimizer.workplace import Workplace

PROXY_CHUNKS = 16
"""Chunks of the source's answers, at most."""
CLEARLY = 3.0
"""Paired standard errors behind the incumbent from which nothing is generated: more than a race asks for, since it is
the answers that decide."""
TRANSCRIPTS_KLD = "transcripts_kld"
"""The metric that holds a trial's mean KLD on the source's answers, nats per token."""
TEXT_NAME = "source-answers.txt"


class Proxy:
    """Compares recipes on one text of the source's answers."""

    def __init__(self, measurer: Measurer) -> None:
        self._measurer = measurer

    def ask(self, recipe: Recipe, incumbent: Recipe, label: str = "") -> Mapping[str, Any]:
        """The trial's metrics, with `kept_out` where it is clearly behind. Raises EvaluationError."""
        n_chunks = self._measurer.text.n_chunks
        ours = self._measurer.measure(recipe, n_chunks, label)
        theirs = self._measurer.measure(incumbent, n_chunks, "incumbent")
        difference = compare(ours.by_chunk, theirs.by_chunk)
        metrics = {TRANSCRIPTS_KLD: ours.score.mean_kld}
        if difference.mean <= max(0.0, CLEARLY * difference.standard_error):
            return metrics
        reason = (
            f"KLD {ours.score.mean_kld:.6f} on the source's own answers, the incumbent {theirs.score.mean_kld:.6f}; "
            f"behind by {difference.mean:.6f} ± {difference.standard_error:.6f} over {n_chunks} chunks, so its own "
            "answers were not generated"
        )
        return {**metrics, KEPT_OUT: reason}


def open_proxy(
    context: SearchContext, bench: Bench, workplace: Workplace, questions: Questions, source: BehaviourResult
) -> Proxy | None:
    """None where the settings want none, or have everybody answer, or, which is said, where two chunks are too many."""
    plan, settings = context.plan, bench.scorer.settings
    if not plan.config.gate_proxy or plan.config.objective != "kld":
        return None
    path = workplace.study_folder(context.study.name) / TEXT_NAME
    write_text(path, answers_text(questions.suite.questions(), source, PROXY_CHUNKS * settings.ctx_size))
    available = bench.scorer.count_chunks(path)
    if available < 2:
        context.reporter.line(
            f"[yellow]the source's answers fill {available} chunks of {settings.ctx_size} tokens: too few for a first "
            "look at their KLD, so every would-be best generates its own[/yellow]"
        )
        return None
    context.check_stop()
    context.reporter.phase("reference: the source's answers", min(PROXY_CHUNKS, available))
    text = prepare_text(
        bench, TextChoice(path, _digest(path), False), PROXY_CHUNKS, lambda done, _: context.reporter.advance(done)
    )
    return Proxy(bench.measurer(context.lease, text, context.reporter))


def answers_text(questions: tuple[Question, ...], source: BehaviourResult, tokens: int) -> str:
    """Prompt and answer of every question in the suite's order, without answers that never end.

    Of long answers the beginning is taken, for each the same number of tokens, so that `tokens` in all let every
    question have its say.
    """
    endless = {prompt.prompt_id for prompt in source.prompts if prompt.is_endless}
    told = [question for question in questions if question.prompt_id not in endless]
    share = max(1, tokens // max(1, len(told)))
    return "\n\n".join(f"{_asked(each)}\n{_beginning(source.transcripts[each.id], share)}" for each in told)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _asked(question: Question) -> str:
    if question.messages is None:
        return question.text or ""
    return "\n".join(message.content for message in question.messages)


def _beginning(transcript: Transcript, tokens: int) -> str:
    """About so many tokens, as if all of them were equally many characters."""
    kept = min(1.0, tokens / max(1, len(transcript.tokens)))
    return transcript.text[: ceil(kept * len(transcript.text))]
