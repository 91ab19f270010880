"""What prompts have in common is decoded once, and answers are those of each prompt alone."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from evaluators.generation import run
from evaluators.generation.prefix import SHORTEST_PREFIX, find_beginning
from evaluators.generation.sequence import AnswerSequence
from evaluators.generation.transcript import Asked, Generation
from evaluators.llama import decode
from tests.evaluators.generation.test_engine import ONE_BY_ONE, TOGETHER, answers, drafts_of, problems

SHARED = replace(TOGETHER, lanes=False)


def sequence(prompt: Sequence[int]) -> AnswerSequence:
    return AnswerSequence(0, 0, prompt, 10, None, stop_loops=True)


def alike(count: int) -> list[Asked]:
    """One story, a question about it each; between them two questions of their own."""
    (story,) = problems(1)
    assert story.text is not None
    asked = [
        Asked(
            f"q{number}", None, f"{story.text}\nQuestion: Max has {number} coins. He finds 3 coins.", "on", 30 + number
        )
        for number in range(count)
    ]
    return [asked[0], *problems(3)[1:], *asked[1:]]


def counted(monkeypatch: pytest.MonkeyPatch, questions: list[Asked], **more: Any) -> tuple[Generation, int]:
    """What was answered, and rows decoded."""
    rows = []

    def count(context: Any, tokens: Any, *others: Any) -> None:
        rows.append(tokens.size)
        decode(context, tokens, *others)

    with monkeypatch.context() as patch:
        patch.setattr(run, "decode", count)
        return answers(questions, SHARED, **more), sum(rows)


def test_the_common_beginning_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = answers(alike(6), ONE_BY_ONE)
    together, rows = counted(monkeypatch, alike(6))
    assert together.transcripts == alone.transcripts
    assert "shared_prefixes=yes" in together.batch_shape
    every = sum(each.prompt_tokens + len(each.tokens) for each in alone.transcripts)
    assert every - rows > 4 * 80
    drafted, fewer = counted(monkeypatch, alike(6), drafts=drafts_of(alone))
    assert drafted.transcripts == alone.transcripts
    assert drafted.accepted_draft_tokens > 50
    assert every - fewer > 4 * 80


def test_the_longest_beginning_is_found() -> None:
    prompt = list(range(200))
    near, far, other = sequence([*prompt[:100], 999]), sequence([*prompt[:150], 999]), sequence([999, *prompt])
    assert find_beginning(prompt, [other, near, far]) == (far, 150)
    assert find_beginning(prompt, [other]) is None
    assert find_beginning(prompt[: SHORTEST_PREFIX + 1], [far]) == (far, SHORTEST_PREFIX)
    assert find_beginning(prompt[:SHORTEST_PREFIX], [far]) is None  # its last token is decoded for itself
    assert find_beginning((), [far]) is None
    assert find_beginning(prompt, []) is None
