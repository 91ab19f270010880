"""A suite's figures: what was solved, how generations ended, and how long they agree with the reference's.

Counts of solved prompts, loops and limits are over prompts; tokens and agreement are over generations, of which a
multiple-choice prompt has two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from evaluators.behaviour.intervals import Interval, PairedTest, wilson_interval
from evaluators.behaviour.outcome import PromptOutcome
from evaluators.generation.transcript import Transcript
from evaluators.repetition import Verdict


@dataclass(frozen=True, slots=True)
class Count:
    """Solved prompts of so many; `unavailable` ones, which nobody could judge, are part of the total and not solved."""

    solved: int
    total: int
    unavailable: int

    @property
    def interval(self) -> Interval:
        """Wilson's, 95 %, over the prompts that could be judged."""
        return wilson_interval(self.solved, self.total - self.unavailable)

    @classmethod
    def of(cls, prompts: Sequence[PromptOutcome]) -> Count:
        verdicts = Counter(prompt.solved for prompt in prompts)
        return cls(verdicts[True], len(prompts), verdicts[None])


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where a transcript leaves the reference's: `agreement` tokens are equal; `first` is None where all are."""

    question_id: str
    agreement: int
    first: int | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Over all generations that the reference has too."""

    divergences: tuple[Divergence, ...]
    reference_tokens: int

    @property
    def identical(self) -> int:
        return sum(each.first is None for each in self.divergences)

    @property
    def tokens(self) -> int:
        return sum(each.agreement for each in self.divergences)

    @property
    def share(self) -> float:
        """Of the reference's tokens, those before the first divergence; 1 where the reference says nothing."""
        return self.tokens / self.reference_tokens if self.reference_tokens else 1.0

    @property
    def median_first_divergence(self) -> float | None:
        """Tokens, over the generations that diverge."""
        firsts = [each.first for each in self.divergences if each.first is not None]
        return median(firsts) if firsts else None


@dataclass(frozen=True, slots=True)
class Scores:
    count: Count
    by_category: Mapping[str, Count]
    loops: int
    """Prompts that never end: exact loops and near loops."""
    near_loops: int
    """Of these, the near loops."""
    out_of_tokens: int
    generated_tokens: int
    thinking_tokens: int
    agreement: Agreement | None
    """None without a reference."""

    def as_json(self) -> dict[str, Any]:
        """The object `prompts` of `eval --json`."""
        interval = self.count.interval
        return {
            "solved": self.count.solved,
            "total": self.count.total,
            "unavailable": self.count.unavailable,
            "solved_interval": [interval.low, interval.high],
            "by_category": {
                name: {"solved": count.solved, "total": count.total, "unavailable": count.unavailable}
                for name, count in self.by_category.items()
            },
            "loops": self.loops,
            "near_loops": self.near_loops,
            "out_of_tokens": self.out_of_tokens,
            "generated_tokens": self.generated_tokens,
            "thinking_tokens": self.thinking_tokens,
            "agreement": None if self.agreement is None else _agreement_json(self.agreement),
        }


def score(prompts: Sequence[PromptOutcome], reference: Mapping[str, Transcript] | None = None) -> Scores:
    """reference: question id -> the reference's transcript; questions that it lacks are not compared."""
    categories = dict.fromkeys(prompt.category for prompt in prompts)
    endings = Counter(prompt.verdict for prompt in prompts)
    transcripts = [answer.transcript for prompt in prompts for answer in prompt.answers]
    return Scores(
        count=Count.of(prompts),
        by_category={name: Count.of([each for each in prompts if each.category == name]) for name in categories},
        loops=endings[Verdict.LOOP] + endings[Verdict.NEAR_LOOP],
        near_loops=endings[Verdict.NEAR_LOOP],
        out_of_tokens=endings[Verdict.OUT_OF_TOKENS],
        generated_tokens=sum(len(each.tokens) for each in transcripts),
        thinking_tokens=sum(each.thinking_tokens for each in transcripts),
        agreement=None if reference is None else agree(transcripts, reference),
    )


def agree(transcripts: Sequence[Transcript], reference: Mapping[str, Transcript]) -> Agreement:
    """Only generations that the reference has too."""
    shared = [(each, reference[each.question_id]) for each in transcripts if each.question_id in reference]
    return Agreement(
        tuple(diverge(ours, theirs) for ours, theirs in shared), sum(len(theirs.tokens) for _, theirs in shared)
    )


def diverge(ours: Transcript, theirs: Transcript) -> Divergence:
    """The first position with another token; where one is the other's beginning, the position at which it ends."""
    if ours.tokens == theirs.tokens:
        return Divergence(ours.question_id, len(ours.tokens), None)
    shorter = min(len(ours.tokens), len(theirs.tokens))
    pairs = zip(ours.tokens, theirs.tokens, strict=False)
    first = next((position for position, (one, other) in enumerate(pairs) if one != other), shorter)
    return Divergence(ours.question_id, first, first)


def compare(ours: Sequence[PromptOutcome], theirs: Sequence[PromptOutcome]) -> PairedTest:
    """Prompt by prompt, over those that both have and both could be judged on."""
    solved = {prompt.prompt_id: prompt.solved for prompt in theirs}
    pairs = [(prompt.solved, solved.get(prompt.prompt_id)) for prompt in ours]
    judged = [(mine, yours) for mine, yours in pairs if mine is not None and yours is not None]
    return PairedTest(
        gained=sum(mine and not yours for mine, yours in judged),
        lost=sum(yours and not mine for mine, yours in judged),
        compared=len(judged),
    )


def _agreement_json(agreement: Agreement) -> dict[str, Any]:
    return {
        "generations": len(agreement.divergences),
        "identical": agreement.identical,
        "tokens": agreement.tokens,
        "reference_tokens": agreement.reference_tokens,
        "share": agreement.share,
        "median_first_divergence": agreement.median_first_divergence,
    }
