"""What is shown of answers: each prompt with its answers side by side, the lost ones first, as frozen values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from evaluators.behaviour.outcome import Answer, BehaviourResult, PromptOutcome
from evaluators.behaviour.scores import diverge
from evaluators.generation.transcript import Transcript
from evaluators.prompts.suite import ROTATED, Question, Suite
from optimizer.export.answer_text import (
    Piece,
    divergence_in_text,
    ending_text,
    pieces,
    pieces_of_question,
    repeated_in_text,
)


class Group(Enum):
    """Of a prompt, in the order in which they are shown. `value`: the badge."""

    LOST = "lost"
    GAINED = "gained"
    DIVERGING = "other words"
    IDENTICAL = "identical"
    NOT_SOLVED = "not solved"
    UNAVAILABLE = "unavailable"
    SOLVED = "solved"


_VERDICTS = {True: "solved", False: "not solved", None: "unavailable"}


@dataclass(frozen=True, slots=True)
class Shown:
    """One answer of one model."""

    name: str
    solved: bool | None
    notes: tuple[str, ...]
    """How it ended, how far it agrees with the other, and what its checks say."""
    pieces: tuple[Piece, ...]
    fork: bool
    """Whether it leaves the other's: the first piece that is not equal begins there, or the text ends there."""
    compared: bool

    @property
    def solved_text(self) -> str:
        return _VERDICTS[self.solved]


@dataclass(frozen=True, slots=True)
class ShownQuestion:
    """`asked`: what the model was asked, where it is known. `label`: empty where the prompt is asked once."""

    label: str
    asked: tuple[Piece, ...]
    answers: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    prompt_id: str
    category: str
    group: Group
    verdicts: str
    reason: str
    """What the judged one's checks say; empty where they say nothing."""
    questions: tuple[ShownQuestion, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """All prompts of a suite, or a half. `names`: of the models, the reference first."""

    names: tuple[str, ...]
    prompts: tuple[ShownPrompt, ...]
    """Without the identical ones."""
    identical: tuple[str, ...]
    compared: bool

    @property
    def counts(self) -> str:
        """`3 lost, 0 gained, 13 in other words, 34 identical`."""
        found = Counter(prompt.group for prompt in self.prompts)
        if not self.compared:
            groups = (Group.NOT_SOLVED, Group.UNAVAILABLE, Group.SOLVED)
            return ", ".join(f"{found[group]} {group.value}" for group in groups if found[group])
        return (
            f"{found[Group.LOST]} lost, {found[Group.GAINED]} gained, {found[Group.DIVERGING]} in other words, "
            f"{len(self.identical)} identical"
        )

    @property
    def repeats(self) -> bool:
        """Whether any answer that is shown does."""
        questions = [question for prompt in self.prompts for question in prompt.questions]
        return any(piece.repeats for question in questions for answer in question.answers for piece in answer.pieces)


@dataclass(frozen=True, slots=True)
class Named:
    """A model's answers under the name that it is shown by."""

    name: str
    result: BehaviourResult

    def outcome(self, prompt_id: str) -> PromptOutcome:
        return next(prompt for prompt in self.result.prompts if prompt.prompt_id == prompt_id)


def show_answers(
    judged: Named, reference: Named | None = None, others: Sequence[Named] = (), suite: Suite | None = None
) -> Answers:
    """All of them answered the same prompts; `others` are shown beside the two, and decide nothing.

    suite: what was asked; without it the questions are not shown.
    """
    columns = [*([reference] if reference else []), judged, *others]
    asked = {question.id: _asked(question) for question in suite.questions()} if suite else {}
    shown, identical = [], []
    for prompt in judged.result.prompts:
        group = _group(prompt, reference.outcome(prompt.prompt_id) if reference else None)
        if group is Group.IDENTICAL:
            identical.append(prompt.prompt_id)
            continue
        outcomes = {column.name: column.outcome(prompt.prompt_id) for column in columns}
        questions = tuple(
            _question(answers, asked, reference.name if reference else None, judged.name)
            for answers in _by_question(outcomes)
        )
        verdicts = ", ".join(f"{name} {_VERDICTS[outcome.solved]}" for name, outcome in outcomes.items())
        reason = next((reason for answer in prompt.answers for reason in answer.reasons), "")
        shown.append(ShownPrompt(prompt.prompt_id, prompt.category, group, verdicts, reason, questions))
    order = list(Group)
    shown.sort(key=lambda prompt: order.index(prompt.group))
    return Answers(tuple(column.name for column in columns), tuple(shown), tuple(identical), reference is not None)


def _group(prompt: PromptOutcome, theirs: PromptOutcome | None) -> Group:
    if theirs is None:
        return {True: Group.SOLVED, False: Group.NOT_SOLVED, None: Group.UNAVAILABLE}[prompt.solved]
    if None not in (prompt.solved, theirs.solved) and prompt.solved != theirs.solved:
        return Group.GAINED if prompt.solved else Group.LOST
    pairs = zip(prompt.answers, theirs.answers, strict=True)
    same = all(ours.transcript.tokens == other.transcript.tokens for ours, other in pairs)
    return Group.IDENTICAL if same else Group.DIVERGING


def _by_question(outcomes: Mapping[str, PromptOutcome]) -> Iterator[dict[str, Answer]]:
    """Name -> answer, for each question of a prompt."""
    for answers in zip(*(outcome.answers for outcome in outcomes.values()), strict=True):
        yield dict(zip(outcomes, answers, strict=True))


def _question(
    answers: Mapping[str, Answer], asked: Mapping[str, str], reference: str | None, judged: str
) -> ShownQuestion:
    question_id = answers[judged].transcript.question_id
    columns = []
    for name, answer in answers.items():
        # The reference's own text is marked where the judged one leaves it.
        against = None if reference is None else judged if name == reference else reference
        columns.append(_shown(name, answer, against, answers[against].transcript if against else None))
    return ShownQuestion(_label(question_id), pieces_of_question(asked.get(question_id, "")), tuple(columns))


def _shown(name: str, answer: Answer, against: str | None, theirs: Transcript | None) -> Shown:
    ours = answer.transcript
    at = divergence_in_text(ours, theirs) if theirs is not None else None
    notes = [ending_text(ours.ending, len(ours.tokens))]
    if theirs is not None:
        tokens = diverge(ours, theirs).first
        notes.append(f"{'all' if tokens is None else f'the first {tokens:,}'} tokens as {against}")
    return Shown(
        name=name,
        solved=answer.solved,
        notes=(*notes, *answer.reasons),
        pieces=pieces(ours.text, at, repeated_in_text(ours), compared=theirs is not None),
        fork=at is not None,
        compared=theirs is not None,
    )


def _label(question_id: str) -> str:
    return "asked again with the options in another order" if question_id.endswith(ROTATED) else ""


def _asked(question: Question) -> str:
    if question.text is not None:
        return question.text
    return "\n\n".join(f"{each.role}: {each.content}" for each in question.messages or ())
