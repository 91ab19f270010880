"""The plain scorer: one evaluator and one shard bank at hand, one recipe after the other."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from evaluators.divergence import Score
from evaluators.errors import EngineKilled, ReferenceDamaged
from evaluators.evaluator import EngineInfo, Evaluator, Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation
from evaluators.noise_floor import NoiseFloor, measure_noise_floor
from evaluators.settings import RuntimeSettings
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.recipe import Recipe
from optimizer.search.building import CandidateBuilder
from optimizer.search.scoring import MeasuredText

ATTEMPTS = 3
"""How often a call is begun whose evaluator gets killed from outside; then that is taken for the recipe's doing."""

Result = TypeVar("Result")


class LocalScorer:
    """Implements `Scorer`. `references`: folder of all reference logits."""

    def __init__(self, evaluator: Evaluator, builder: CandidateBuilder, model: ModelFile, references: Path) -> None:
        self.evaluator = evaluator
        self.builder = builder
        self._model = model
        self._references = references

    @property
    def settings(self) -> RuntimeSettings:
        return self.evaluator.settings

    @property
    def slots(self) -> int:
        return 1

    @property
    def idle(self) -> int:
        return 0

    def engine(self) -> EngineInfo:
        return self.evaluator.engine()

    def count_chunks(self, text: Path) -> int:
        return self.evaluator.tokenize(self._model.paths, text).n_chunks(self.settings.ctx_size)

    def make_reference(self, text: Path, sha256: str, name: str, chunks: int, progress: Progress | None = None) -> Path:
        folder = self._references / name
        made = _persistently(
            lambda: self.evaluator.build_reference(
                self._model.paths, text, folder, chunks=chunks, identity=self._model.fingerprint, progress=progress
            )
        )
        return made.folder

    def score(
        self, recipe: Recipe, text: MeasuredText, chunks: Sequence[int], progress: Progress | None = None
    ) -> Score:
        candidate = self.builder.build(recipe)  # its shards stay in the bank while it lives
        return self._against(
            text, lambda: self.evaluator.score(candidate.paths, text.reference, list(chunks), progress)
        )

    def noise_floor(self, text: MeasuredText, chunks: Sequence[int]) -> NoiseFloor:
        return self._against(
            text, lambda: measure_noise_floor(self.evaluator, self._model.paths, text.reference, list(chunks))
        )

    def block_influence(self, text: Path, chunks: int, progress: Progress | None = None) -> tuple[float, ...]:
        found = self.evaluator.block_influence(self._model.paths, text, chunks=chunks, progress=progress)
        self.evaluator.release()
        return found

    def generate(
        self,
        recipe: Recipe | None,
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        candidate = self.builder.build(recipe) if recipe is not None else None
        paths = self._model.paths if candidate is None else candidate.paths
        return _persistently(lambda: self.evaluator.generate(paths, questions, settings, drafts, progress))

    def prefetch(self, recipe: Recipe) -> None:
        self.builder.prefetch(recipe)

    def _against(self, text: MeasuredText, call: Callable[[], Result]) -> Result:
        """Once more where the reference was damaged: who met it has removed what was, and it is made again."""
        try:
            return _persistently(call)
        except ReferenceDamaged:
            self.make_reference(text.path, text.sha256, text.reference.name, text.n_chunks)
            return _persistently(call)

    def abandon(self) -> None:
        """Nothing is under way: it is the calling thread itself that works."""


def has_idle_cores(settings: RuntimeSettings) -> bool:
    """Whether quantizing beside the evaluator costs it nothing: it runs on a GPU, or leaves cores free."""
    return settings.n_gpu_layers != 0 or settings.resolved_threads() < (os.cpu_count() or 1)


def _persistently(call: Callable[[], Result]) -> Result:
    """Begin again what ended because somebody killed the evaluator's process. Raises EngineKilled the last time."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except EngineKilled as killed:
            if attempt == ATTEMPTS:
                raise EngineKilled(f"given up: {ATTEMPTS} times in a row {killed}") from killed
    raise AssertionError("unreachable")
