"""Jobs: small frozen records that any worker can do, for they say what is wanted and not where it lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evaluators.divergence import Score
from evaluators.evaluator import EngineInfo
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import Asked, Generation
from evaluators.noise_floor import NoiseFloor
from optimizer.execution.opened import OpenedStudy
from optimizer.execution.setup import FileName, ReferenceName
from optimizer.recipes.recipe import Recipe


class Job(Protocol):
    def run(self, opened: OpenedStudy) -> object: ...


@dataclass(frozen=True)
class EngineJob:
    def run(self, opened: OpenedStudy) -> EngineInfo:
        return opened.scorer.engine()


@dataclass(frozen=True)
class CountJob:
    text: FileName

    def run(self, opened: OpenedStudy) -> int:
        return opened.scorer.count_chunks(opened.file(self.text.sha256, self.text.path))


@dataclass(frozen=True)
class ReferenceJob:
    reference: ReferenceName

    def run(self, opened: OpenedStudy) -> None:
        opened.text(self.reference)


@dataclass(frozen=True)
class ScoreJob:
    recipe: Recipe
    reference: ReferenceName
    chunks: tuple[int, ...]

    def run(self, opened: OpenedStudy) -> Score:
        return opened.scorer.score(self.recipe, opened.text(self.reference), self.chunks)


@dataclass(frozen=True)
class NoiseJob:
    reference: ReferenceName
    chunks: tuple[int, ...]

    def run(self, opened: OpenedStudy) -> NoiseFloor:
        return opened.scorer.noise_floor(opened.text(self.reference), self.chunks)


@dataclass(frozen=True)
class InfluenceJob:
    text: FileName
    chunks: int

    def run(self, opened: OpenedStudy) -> tuple[float, ...]:
        return opened.scorer.block_influence(opened.file(self.text.sha256, self.text.path), self.chunks)


@dataclass(frozen=True)
class AnswerJob:
    recipe: Recipe | None
    questions: tuple[Asked, ...]
    settings: GenerationSettings
    drafts: Mapping[str, Sequence[int]] | None

    def run(self, opened: OpenedStudy) -> Generation:
        return opened.scorer.generate(self.recipe, self.questions, self.settings, self.drafts)


@dataclass(frozen=True)
class ShardJob:
    """Fill the bank of the worker's machine with a recipe's shards."""

    recipe: Recipe

    def run(self, opened: OpenedStudy) -> None:
        opened.scorer.builder.build(self.recipe).close()
