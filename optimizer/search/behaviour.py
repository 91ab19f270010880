"""How models and recipes behave on a suite: every answer is generated once in a lifetime, then read from the store."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.record import prompts_as_json, prompts_from_json
from evaluators.behaviour.run import Answering, judge_all, run_suite
from evaluators.behaviour.scores import score
from evaluators.evaluator import EngineInfo, Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.suite import Suite
from evaluators.settings import RuntimeSettings
from optimizer.search.suites import Questions
from optimizer.store import BehaviourRecord, Lease, Store
from optimizer.store.records import Half


class Answerer(Answering, Protocol):
    """What answers, and what its answers depend on besides the weights: an evaluator is one."""

    @property
    def settings(self) -> RuntimeSettings: ...

    def engine(self) -> EngineInfo: ...


Files = Callable[[], Sequence[Path]]
"""The files of a model; called only where it must be loaded."""


@dataclass(frozen=True)
class Subject:
    """Whose behaviour it is. `key`: a GGUF's fingerprint, or the source's fingerprint, a colon and a recipe's key.

    answerer: who answers for it, in place of the measurer's evaluator; it may know the files by itself.
    """

    key: str
    files: Files
    answerer: Answerer | None = None


class BehaviourMeasurer:
    """Answers of the source and of its candidates. Without a store nothing is kept."""

    def __init__(
        self,
        evaluator: Answerer,
        settings: GenerationSettings,
        source: Subject | None,
        *,
        store: Store | None = None,
        lease: Lease | None = None,
        imatrix_sha256: str | None = None,
        sandbox: Sandbox | None = None,
        progress: Callable[[str], Progress] | None = None,
    ) -> None:
        """`source`: whose transcripts are the drafts of all others; None where there is none.

        progress: gives, for a label, what counts the answers under it.
        """
        self._evaluator = evaluator
        self._settings = settings
        self._source = source
        self._store = store
        self._lease = lease
        self._imatrix_sha256 = imatrix_sha256
        self._sandbox = sandbox
        self._progress = progress
        self._sources: dict[tuple[str, str], BehaviourResult] = {}

    def source(self, questions: Questions) -> BehaviourResult | None:
        """The source's own answers, generated without a draft; in memory after the first call."""
        if self._source is None:
            return None
        known = (questions.suite.sha256, questions.half)
        if known not in self._sources:
            self._sources[known] = self._measure(self._source, questions, None, "source")
        return self._sources[known]

    def measure(self, subject: Subject, questions: Questions, label: str = "") -> BehaviourResult:
        """Raises EvaluationError where they must be generated and cannot be."""
        source = self.source(questions)
        if source is not None and self._source is not None and subject.key == self._source.key:
            return source
        return self._measure(subject, questions, source, label)

    def _measure(
        self, subject: Subject, questions: Questions, source: BehaviourResult | None, label: str
    ) -> BehaviourResult:
        suite, store = questions.suite, self._store
        key = "" if store is None else store.add_settings(self._identity(suite, source is not None))
        if store is not None:
            known = store.find_behaviour(subject.key, suite.sha256, questions.half, key)
            if known is not None:
                return self._read(store, known, suite)
        drafts = source.transcripts if source else None
        result = run_suite(
            subject.answerer or self._evaluator, subject.files(), suite, self._settings, drafts,
            sandbox=self._sandbox, progress=self._progress(label) if self._progress else None,
        )  # fmt: skip
        if store is not None:
            store.add_behaviour(_record(subject.key, suite, questions.half, key, result), self._lease)
        return result

    def _read(self, store: Store, known: BehaviourRecord, suite: Suite) -> BehaviourResult:
        """What could not be judged then, for want of a sandbox, is judged again."""
        result = BehaviourResult(suite.sha256, prompts_from_json(known.prompts), known.generation)
        if all(answer.passed is not None for prompt in result.prompts for answer in prompt.answers):
            return result
        judged = replace(result, prompts=judge_all(suite, result.transcripts, self._sandbox))
        if judged != result:
            store.judge_again(_record(known.subject, suite, known.half, known.settings_key, judged))
        return judged

    def _identity(self, suite: Suite, has_draft: bool) -> dict[str, object]:
        """Everything but the weights that a transcript depends on."""
        questions = "\n".join(question.id for question in suite.questions())
        return {
            "runtime": self._evaluator.settings.as_dict(),
            "engine": self._evaluator.engine().identity,
            "generation": asdict(self._settings),
            "questions": hashlib.sha256(questions.encode()).hexdigest(),
            "drafts_of": self._source.key if self._source and has_draft and self._settings.speculative else None,
            # The source's own answers know no importance matrix.
            "imatrix": self._imatrix_sha256 if has_draft else None,
        }


def _record(key: str, suite: Suite, half: Half, settings_key: str, result: BehaviourResult) -> BehaviourRecord:
    return BehaviourRecord(
        subject=key,
        suite_sha256=suite.sha256,
        half=half,
        settings_key=settings_key,
        prompts=tuple(prompts_as_json(result)),
        summary=score(result.prompts).as_json(),
        generation=result.generation,
    )
