"""A suite from questions to scores, with a model whose answers are known, and back from JSON."""

import json
from pathlib import Path

import pytest

from evaluators.behaviour.record import prompts_as_json, prompts_from_json, transcript_lines
from evaluators.behaviour.run import judge_all, run_suite
from evaluators.fake import FakeEvaluator
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion
from evaluators.prompts.sandbox import ProgramRun
from evaluators.prompts.suite import Suite, load_suite
from evaluators.repetition import Verdict

SUITE = """
name: small
prompts:
  - {id: sum, category: arithmetic, raw: "3 + 4 =", max_tokens: 40, checks: [{number: 7}]}
  - {id: choice, category: logic, prompt: "Which?\\n{options}", options: [red, green, blue],
     max_tokens: 40, checks: [{choice: green}]}
  - {id: code, category: code, prompt: "Write f.", max_tokens: 60, checks: [{code: {defines: f, tests: "assert f()"}}]}
  - {id: endless, category: arithmetic, raw: "Count", max_tokens: 400, checks: [{number: 7}]}
"""
SAID = {
    "sum": "The answer is 7.",
    "choice": "The answer is B.",
    "choice#rotated": "The answer is B.",
    "code": "def f():\n    return True",
    "endless": "7 and " * 100,
}


class NoSandbox:
    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        return ProgramRun(None, "no sandbox here")


class Passes:
    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        return ProgramRun(True)


def answer(question: AnyQuestion, damage: float) -> str:
    return SAID[question.id]


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    path = tmp_path / "small.yaml"
    path.write_text(SUITE)
    return load_suite(path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def fake() -> FakeEvaluator:
    return FakeEvaluator(answer=answer, damage=lambda path: 0.0)


def test_every_question_is_asked_once_and_judged_by_its_own_checks(suite: Suite, model: Path) -> None:
    evaluator = fake()
    result = run_suite(evaluator, [model], suite, GenerationSettings(), sandbox=NoSandbox())
    assert evaluator.generated == [((model,), ("sum", "choice", "choice#rotated", "code", "endless"))]
    assert {each.prompt_id: each.solved for each in result.prompts} == {
        "sum": True,
        "choice": False,  # B is green in one order only
        "code": None,
        "endless": False,
    }
    assert [answer.passed for answer in result.prompts[1].answers] == [True, False]
    assert result.prompts[2].answers[0].reasons == ("no sandbox here",)
    assert result.prompts[3].verdict is Verdict.LOOP
    assert result.generation["batch_shape"] == "fake"
    assert result.suite_sha256 == suite.sha256


def test_the_reference_is_the_draft_only_where_the_settings_speculate(suite: Suite, model: Path) -> None:
    given = []

    class Watching(FakeEvaluator):
        def generate(self, model_paths, questions, settings, drafts=None, progress=None):  # type: ignore[no-untyped-def]
            given.append(drafts)
            return super().generate(model_paths, questions, settings, drafts, progress)

    evaluator = Watching(answer=answer, damage=lambda path: 0.0)
    reference = run_suite(evaluator, [model], suite, GenerationSettings(), sandbox=Passes()).transcripts
    run_suite(evaluator, [model], suite, GenerationSettings(), reference, sandbox=Passes())
    run_suite(evaluator, [model], suite, GenerationSettings(speculative=False), reference, sandbox=Passes())
    assert given == [None, {name: each.tokens for name, each in reference.items()}, None]


def test_json_gives_everything_back(suite: Suite, model: Path) -> None:
    result = run_suite(fake(), [model], suite, GenerationSettings(), sandbox=NoSandbox())
    kept = json.loads(json.dumps(prompts_as_json(result)))
    assert prompts_from_json(kept) == result.prompts
    again = prompts_from_json(kept)[3].answers[0].transcript
    assert again.ending.repetition is not None
    assert again.seconds == result.prompts[3].answers[0].transcript.seconds


def test_transcripts_are_judged_again_without_a_model(suite: Suite, model: Path) -> None:
    result = run_suite(fake(), [model], suite, GenerationSettings(), sandbox=NoSandbox())
    judged = judge_all(suite, result.transcripts, Passes())
    assert [prompt.solved for prompt in judged] == [True, False, True, False]


def test_lines_of_transcripts(suite: Suite, model: Path) -> None:
    result = run_suite(fake(), [model], suite, GenerationSettings(), sandbox=NoSandbox())
    lines = transcript_lines(result, "candidate", {"sum": result.transcripts["sum"]})
    assert [line["question"] for line in lines] == ["sum", "choice", "choice#rotated", "code", "endless"]
    first, last = lines[0], lines[-1]
    assert (first["solved"], first["first_divergence"], first["agreement_tokens"]) == (True, None, 16)
    assert (last["ending"], last["solved"], last["agreement_tokens"]) == ("loop", False, None)
    assert last["repetition"][1] == 6
    assert first["text"] == SAID["sum"]
