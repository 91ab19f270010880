"""Greedy answers of the demo model: batched as one at a time, again and again, with drafts, up to every limit."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demo.corpus import FOLDER
from evaluators.errors import DecodeError, EvaluationInputError, ReferenceMismatch, SettingsError
from evaluators.generation import run
from evaluators.generation.engine import GreedyEngine
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.templates import TemplateError
from evaluators.generation.transcript import Asked, Generation, Turn
from evaluators.in_process import InProcessEvaluator
from evaluators.process import EvaluatorProcess
from evaluators.repetition import Verdict
from evaluators.settings import RuntimeSettings
from tests.evaluators.conftest import quantize
from tests.models import tiny_model

MODEL = FOLDER / "model" / "demo-F16.gguf"
RUNTIME = RuntimeSettings(threads=1, batch_size=256, ubatch_size=128)
ONE_BY_ONE = GenerationSettings(max_parallel=1, speculative=False)
TOGETHER = GenerationSettings(max_parallel=4, draft_tokens=8)


def problems(count: int, max_tokens: int = 40) -> list[Asked]:
    lines = (FOLDER / "problems.jsonl").read_text(encoding="utf-8").splitlines()[:count]
    rows = [json.loads(line) for line in lines]
    return [Asked(row["id"], None, row["prompt"], "on", max_tokens) for row in rows]


def answers(
    questions: Sequence[Asked],
    settings: GenerationSettings,
    runtime: RuntimeSettings = RUNTIME,
    drafts: dict[str, Sequence[int]] | None = None,
    model: Path = MODEL,
) -> Generation:
    with GreedyEngine([model], runtime, settings) as engine:
        return engine.generate(questions, drafts)


def drafts_of(generation: Generation) -> dict[str, Sequence[int]]:
    return {each.question_id: each.tokens for each in generation.transcripts}


@pytest.fixture(scope="module")
def one_by_one() -> Generation:
    return answers(problems(6), ONE_BY_ONE)


def test_together_as_one_by_one(one_by_one: Generation) -> None:
    """Six prompts through four sequences, in batches that hold parts of prompts only."""
    together = answers(problems(6), TOGETHER, replace(RUNTIME, batch_size=48))
    assert together.transcripts == one_by_one.transcripts
    assert "n_seq_max=4" in together.batch_shape
    assert "speculative=no" in together.batch_shape


def test_three_runs_are_identical(one_by_one: Generation) -> None:
    drafts = drafts_of(one_by_one)
    first, *others = (answers(problems(6), TOGETHER, drafts=drafts) for _ in range(3))
    assert [other.transcripts for other in others] == [first.transcripts] * 2
    assert {other.batch_shape for other in others} == {first.batch_shape}


def test_its_own_transcript_as_the_draft_changes_nothing(one_by_one: Generation) -> None:
    speculative = answers(problems(6), replace(TOGETHER, max_parallel=1), drafts=drafts_of(one_by_one))
    assert speculative.transcripts == one_by_one.transcripts
    assert "speculative=yes draft_tokens=8" in speculative.batch_shape
    generated = sum(len(each.tokens) for each in one_by_one.transcripts)
    assert speculative.accepted_draft_tokens > 0.8 * generated


def test_a_wrong_draft_changes_nothing(one_by_one: Generation) -> None:
    """Another question's answer, and its own with every tenth token changed."""
    own = drafts_of(one_by_one)
    shifted = dict(zip(own, [*list(own.values())[1:], ()], strict=True))
    broken: dict[str, Sequence[int]] = {
        name: [7 if place % 10 == 9 else token for place, token in enumerate(own[name])] for name in own
    }
    for drafts in (shifted, broken):
        found = answers(problems(6), replace(TOGETHER, max_parallel=1), drafts=drafts)
        assert found.transcripts == one_by_one.transcripts
    assert found.accepted_draft_tokens > 100  # taken up again after each changed token


def test_a_model_that_stops_and_one_that_may_not() -> None:
    (whole,) = answers(problems(1, max_tokens=300), ONE_BY_ONE).transcripts
    assert whole.ending.verdict is Verdict.STOPPED
    assert whole.text.endswith("The answer is 59.")
    assert whole.prompt_tokens == 83
    (cut,) = answers(problems(1, max_tokens=10), ONE_BY_ONE).transcripts
    assert cut.ending.verdict is Verdict.OUT_OF_TOKENS
    assert cut.tokens == whole.tokens[:10]


def test_messages_go_through_the_model_s_chat_template() -> None:
    asked = problems(1)[0]
    assert asked.text is not None
    content = asked.text.removeprefix("Question: ").removesuffix("\nAnswer:")
    message = Asked("m", (Turn("user", content),), None, "on", 40)
    as_text, as_message = answers([asked, message], ONE_BY_ONE).transcripts
    assert as_message.tokens == as_text.tokens
    given = replace(ONE_BY_ONE, chat_template="{{ messages[0].content }}")
    assert answers([message], given).transcripts[0].prompt_tokens < as_message.prompt_tokens


def test_a_prompt_longer_than_the_context_is_named() -> None:
    long = Asked("too long", None, "one two three " * 300, "on", 5)
    with pytest.raises(EvaluationInputError, match=r"prompt too long has \d+ tokens.* context of 512; use a larger -c"):
        answers([*problems(1), long], TOGETHER)
    with pytest.raises(EvaluationInputError, match=r"prompt p001 has 83 tokens.* context of 64"):
        answers(problems(1), replace(TOGETHER, ctx_size=64))


def test_an_answer_ends_with_its_context() -> None:
    (cut,) = answers(problems(1), replace(ONE_BY_ONE, ctx_size=100)).transcripts
    assert len(cut.tokens) == 17


def test_a_small_context_makes_questions_wait(one_by_one: Generation) -> None:
    waiting = answers(problems(6), replace(TOGETHER, ctx_size=260), drafts=drafts_of(one_by_one))
    assert waiting.transcripts == one_by_one.transcripts


def test_nothing_asked_is_nothing_answered() -> None:
    assert answers([], TOGETHER).transcripts == ()


def test_a_memory_that_cannot_take_tokens_back_gets_no_drafts(
    one_by_one: Generation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GreedyEngine, "can_take_back", property(lambda engine: False))
    plain = answers(problems(6), TOGETHER, drafts=drafts_of(one_by_one))
    assert plain.transcripts == one_by_one.transcripts
    assert plain.accepted_draft_tokens == 0
    assert "speculative=no" in plain.batch_shape


def test_drafts_of_another_vocabulary_are_refused() -> None:
    with pytest.raises(ReferenceMismatch, match="another vocabulary"):
        answers(problems(1), TOGETHER, drafts={"p001": [5, 914]})


def test_logits_that_are_no_numbers_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "logits", lambda context, rows, size: np.full((rows, size), np.nan, np.float32))
    with pytest.raises(DecodeError, match="not numbers"):
        answers(problems(1), TOGETHER)


def test_ids_are_unique() -> None:
    with pytest.raises(EvaluationInputError, match="same id"):
        answers(problems(1) * 2, TOGETHER)


def test_a_model_without_a_chat_template_says_so(tmp_path: Path) -> None:
    message = Asked("m", (Turn("user", "Hi"),), None, "on", 5)
    with pytest.raises(TemplateError, match=r"carries no chat template.*--chat-template"):
        answers([message], TOGETHER, model=tiny_model(tmp_path, n_layer=1, seed=1))


@pytest.mark.parametrize("wrong", [{"max_parallel": 0}, {"draft_tokens": 0}, {"ctx_size": 1}])
def test_impossible_settings(wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError):
        GenerationSettings(**wrong)  # type: ignore[arg-type]


def test_a_loop_of_a_low_bit_file_is_cut_short(tmp_path: Path) -> None:
    """Q2_K repeats one line of this list for ever, F16 stops (demo/README.md)."""
    quantize(MODEL, tmp_path / "Q2_K.gguf", "Q2_K")
    asked = [Asked("list", None, "Question: Write a list of 6 things near the river.\nAnswer:", "on", 850)]
    settings = replace(ONE_BY_ONE, ctx_size=900)
    (cut,) = answers(asked, settings, model=tmp_path / "Q2_K.gguf").transcripts
    assert cut.ending.verdict is Verdict.LOOP
    assert len(cut.tokens) < 800
    (whole,) = answers(asked, replace(settings, stop_loops=False), model=tmp_path / "Q2_K.gguf").transcripts
    assert len(whole.tokens) == 850
    assert whole.tokens[: len(cut.tokens)] == cut.tokens
    (sound,) = answers(asked, settings).transcripts
    assert sound.ending.verdict is Verdict.STOPPED


def test_evaluators_answer_alike_in_this_process_and_in_a_child(one_by_one: Generation) -> None:
    seen: list[tuple[int, int]] = []
    here = InProcessEvaluator(RUNTIME).generate([MODEL], problems(6), TOGETHER, drafts_of(one_by_one))
    with EvaluatorProcess(RUNTIME) as process:
        there = process.generate(
            [MODEL], problems(6), TOGETHER, drafts_of(one_by_one), lambda done, total: seen.append((done, total))
        )
        assert there.transcripts == here.transcripts
        assert there.batch_shape == here.batch_shape
        assert seen[-1] == (6, 6)
        assert seen == sorted(seen)
        before = process.process_id
        with pytest.raises(EvaluationInputError, match="prompt p001 has 83 tokens"):
            process.generate([MODEL], problems(1), replace(TOGETHER, ctx_size=64))
        assert process.process_id == before
