"""What a search needs from whatever scores its recipes: a process here, several of them, or other machines.

Recipes go in and figures come out; files, shards and reference logits are the scorer's own business. The one behind
`--workers` and `--cluster` is in optimizer/execution, the plain one in `bench`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evaluators.divergence import Score
from evaluators.evaluator import EngineInfo, Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation
from evaluators.noise_floor import NoiseFloor
from evaluators.settings import RuntimeSettings
from optimizer.recipes.recipe import Recipe


@dataclass(frozen=True)
class MeasuredText:
    """A text in use: its row, the reference's folder, the identity of settings and engine, and its extent.

    reference: where the scorer keeps it; its last part names it everywhere. tokens_per_chunk: decoded, not only scored.
    """

    text_id: int
    sha256: str
    path: Path
    reference: Path
    settings_key: str
    n_chunks: int
    tokens_per_chunk: int


class Scorer(Protocol):
    """Scores recipes of one model under one engine and one set of settings.

    Its methods may be called from `slots` threads at a time, and raise EvaluationError where the work was refused or
    failed, whatever ended in between.
    """

    @property
    def settings(self) -> RuntimeSettings: ...

    @property
    def slots(self) -> int:
        """Calls that can be at work at the same time, as it is now; 1 at least."""
        ...

    @property
    def idle(self) -> int:
        """Slots that no call uses now."""
        ...

    def engine(self) -> EngineInfo:
        """The engine of all scores."""
        ...

    def count_chunks(self, text: Path) -> int:
        """Whole chunks of the text in the model's tokens."""
        ...

    def make_reference(self, text: Path, sha256: str, name: str, chunks: int, progress: Progress | None = None) -> Path:
        """The model's logits on the first `chunks` chunks of a text, under this name; what is there is kept."""
        ...

    def score(
        self, recipe: Recipe, text: MeasuredText, chunks: Sequence[int], progress: Progress | None = None
    ) -> Score: ...

    def noise_floor(self, text: MeasuredText, chunks: Sequence[int]) -> NoiseFloor: ...

    def block_influence(self, text: Path, chunks: int, progress: Progress | None = None) -> tuple[float, ...]: ...

    def generate(
        self,
        recipe: Recipe | None,
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        """Greedy answers of a recipe's candidate; of the model itself for None."""
        ...

    def prefetch(self, recipe: Recipe) -> None:
        """Make a recipe's shards ahead of need, where that costs nobody anything."""
        ...

    def abandon(self) -> None:
        """End the calls that other threads have under way, with an error; called when the search ends early."""
        ...
