"""Answers are generated once for everything that they depend on, and read from the store ever after."""

from dataclasses import replace
from pathlib import Path

import pytest

from evaluators.fake import FakeEvaluator
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion
from evaluators.prompts.sandbox import ProgramRun, Sandbox
from evaluators.prompts.suite import Suite, load_suite
from evaluators.settings import RuntimeSettings
from optimizer.search.behaviour import BehaviourMeasurer, Subject
from optimizer.search.suites import Questions, search_and_report_half
from optimizer.store import Store

CODE = """
name: code
prompts:
  - {id: one, category: code, raw: "f", max_tokens: 60, checks: [{code: {defines: f, tests: "assert f()"}}]}
  - {id: two, category: code, raw: "f", max_tokens: 60, checks: [{code: {defines: f, tests: "assert f()"}}]}
"""


class Box:
    def __init__(self, passed: bool | None) -> None:
        self._passed = passed

    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        return ProgramRun(self._passed, "" if self._passed else "no sandbox here")


class Bench:
    """One store, and an evaluator that counts what is generated."""

    def __init__(self, folder: Path) -> None:
        (folder / "code.yaml").write_text(CODE)
        self.suite: Suite = load_suite(folder / "code.yaml")
        self.store = Store.open(folder)
        self.evaluator = FakeEvaluator(damage=lambda path: 0.0, answer=self._answer)

    def _answer(self, question: AnyQuestion, damage: float) -> str:
        return "def f():\n    return True"

    def measurer(
        self,
        settings: GenerationSettings | None = None,
        *,
        source: str | None = "source",
        imatrix: str | None = None,
        sandbox: Sandbox | None = None,
    ) -> BehaviourMeasurer:
        return BehaviourMeasurer(
            self.evaluator,
            settings or GenerationSettings(),
            subject(source) if source else None,
            store=self.store,
            imatrix_sha256=imatrix,
            sandbox=sandbox or Box(True),
        )

    @property
    def generated(self) -> int:
        return len(self.evaluator.generated)


def subject(key: str) -> Subject:
    return Subject(key, lambda: [Path(f"{key}.gguf")])


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_is_generated_twice(bench: Bench) -> None:
    whole = Questions(bench.suite)
    first = bench.measurer().measure(subject("candidate"), whole)
    assert bench.generated == 2  # the source, then the candidate
    again = bench.measurer().measure(subject("candidate"), whole)
    assert bench.generated == 2
    assert again == first
    assert [prompt.solved for prompt in again.prompts] == [True, True]


def test_the_source_as_a_candidate_is_the_source(bench: Bench) -> None:
    measurer = bench.measurer()
    assert measurer.measure(subject("source"), Questions(bench.suite)) is measurer.source(Questions(bench.suite))
    assert bench.generated == 1


def test_whatever_an_answer_depends_on_is_part_of_its_key(bench: Bench) -> None:
    whole, candidate = Questions(bench.suite), subject("candidate")
    bench.measurer().measure(candidate, whole)
    changed = [
        (bench.measurer(GenerationSettings(max_parallel=2)), whole, 2),
        (bench.measurer(GenerationSettings(speculative=False)), whole, 2),
        (bench.measurer(GenerationSettings(chat_template="{{ messages }}")), whole, 2),
        (bench.measurer(imatrix="other"), whole, 1),
        (bench.measurer(source="other"), whole, 2),
        (bench.measurer(source=None), whole, 1),
        (bench.measurer(), search_and_report_half(bench.suite)[0], 2),
        (bench.measurer(), Questions(replace(bench.suite, sha256="other")), 2),
    ]
    for measurer, questions, expected in changed:
        before = bench.generated
        measurer.measure(candidate, questions)
        assert bench.generated - before == expected
        measurer.measure(candidate, questions)
        assert bench.generated - before == expected
    bench.evaluator = FakeEvaluator(RuntimeSettings(cache_type_k="q8_0"), damage=lambda path: 0.0)
    bench.measurer().measure(candidate, whole)
    assert bench.generated == 2


def test_what_no_sandbox_could_judge_is_judged_once_there_is_one(bench: Bench) -> None:
    whole, candidate = Questions(bench.suite), subject("candidate")
    blind = bench.measurer(sandbox=Box(None)).measure(candidate, whole)
    assert [prompt.solved for prompt in blind.prompts] == [None, None]
    seeing = bench.measurer(sandbox=Box(True)).measure(candidate, whole)
    assert [prompt.solved for prompt in seeing.prompts] == [True, True]
    assert bench.generated == 2
    kept = bench.measurer(sandbox=Box(None)).measure(candidate, whole)
    assert [prompt.solved for prompt in kept.prompts] == [True, True]


def test_without_a_store_everything_is_generated_anew(bench: Bench) -> None:
    for expected in (1, 2):
        BehaviourMeasurer(bench.evaluator, GenerationSettings(), None, sandbox=Box(True)).measure(
            subject("candidate"), Questions(bench.suite)
        )
        assert bench.generated == expected
