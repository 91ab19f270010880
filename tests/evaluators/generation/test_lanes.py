"""A small model answers in a context a thread: the same answers, whichever thread was free, and errors that end all."""

from dataclasses import replace

import numpy as np
import pytest

from evaluators.errors import DecodeError, EvaluationInputError
from evaluators.generation import run, shape
from evaluators.generation.engine import GreedyEngine
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.shape import Request, fit_shape
from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from tests.evaluators.generation.test_engine import MODEL, ONE_BY_ONE, RUNTIME, TOGETHER, answers, drafts_of, problems

THREE = replace(RUNTIME, threads=3)
SMALL = 1 << 20


def requests(count: int, prompt: int = 20, allowed: int = 30) -> list[Request]:
    return [Request(f"q{number}", "", tuple(range(prompt)), allowed) for number in range(count)]


def lanes(generation: GenerationSettings, runtime: RuntimeSettings, questions: int = 9, weights: int = SMALL) -> int:
    return fit_shape(
        requests(questions), generation, runtime, can_take_back=True, speculative=True, weights=weights
    ).lanes


def test_answers_are_those_of_one_thread_and_one_sequence() -> None:
    alone = answers(problems(7), ONE_BY_ONE)
    beside = answers(problems(7), TOGETHER, THREE)
    assert beside.transcripts == alone.transcripts
    assert "n_seq_max=1" in beside.batch_shape
    assert "lanes=3 threads=1" in beside.batch_shape
    drafted = [answers(problems(7), TOGETHER, THREE, drafts_of(alone)) for _ in range(3)]
    assert {each.transcripts for each in drafted} == {alone.transcripts}
    assert {each.accepted_draft_tokens for each in drafted} == {drafted[0].accepted_draft_tokens}
    assert drafted[0].accepted_draft_tokens > 200


def test_an_answer_does_not_depend_on_what_else_is_asked() -> None:
    whole = answers(problems(7), TOGETHER, THREE)
    some = answers(problems(7)[::-1][:4], TOGETHER, THREE)
    assert some.transcripts[::-1] == whole.transcripts[3:]


def test_as_many_as_threads_questions_and_settings_allow() -> None:
    assert lanes(TOGETHER, THREE) == 3
    assert lanes(TOGETHER, replace(RUNTIME, threads=16)) == 4  # max_parallel
    assert lanes(TOGETHER, THREE, questions=2) == 2
    assert lanes(replace(TOGETHER, ctx_size=110), THREE) == 2  # of 50 cells each
    assert lanes(replace(TOGETHER, lanes=False), THREE) == 1
    assert lanes(TOGETHER, replace(THREE, n_gpu_layers=1)) == 1
    assert lanes(TOGETHER, THREE, weights=shape.LANE_WEIGHTS + 1) == 1
    fitted = fit_shape(
        requests(9), TOGETHER, replace(RUNTIME, threads=9), can_take_back=True, speculative=True, weights=SMALL
    )
    assert (fitted.lanes, fitted.ctx_size, fitted.n_outputs) == (4, 50, 64)
    assert fitted.threads(replace(RUNTIME, threads=9)) == 2


def test_one_context_of_several_sequences_where_lanes_are_not_wanted() -> None:
    shared = answers(problems(5), replace(TOGETHER, lanes=False), THREE)
    assert "n_seq_max=4" in shared.batch_shape
    assert "lanes=1 threads=3" in shared.batch_shape


def test_the_first_error_ends_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "logits", lambda context, rows, size: np.full((rows, size), np.nan, np.float32))
    with pytest.raises(DecodeError, match="not numbers"):
        answers(problems(7), TOGETHER, THREE)


def test_whoever_watches_can_end_it() -> None:
    def stop(done: int, total: int) -> None:
        raise EvaluationInputError("enough")

    with GreedyEngine([MODEL], THREE, TOGETHER) as engine, pytest.raises(EvaluationInputError, match="enough"):
        engine.generate(problems(30), progress=stop)


def test_a_child_process_tells_how_far_all_lanes_are() -> None:
    seen: list[tuple[int, int]] = []
    with EvaluatorProcess(THREE) as process:
        there = process.generate(
            [MODEL], problems(7), TOGETHER, None, lambda done, total: seen.append((done, total))
        )  # fmt: skip
    assert "lanes=3" in there.batch_shape
    assert seen == sorted(seen)
    assert seen[-1] == (7, 7)
