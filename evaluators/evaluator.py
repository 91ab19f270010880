"""What a search needs from the thing that scores models, and nothing more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluators.divergence import Score
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation
from evaluators.imatrix import Collected
from evaluators.settings import RuntimeSettings

if TYPE_CHECKING:
    from evaluators.reference import Reference

# Called with (chunks done, chunks in all); it may raise to abandon the call.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """The llama.cpp that computes: two results compare only where `identity` is equal."""

    name: str  # "llama.cpp", or "fake"
    version: str  # ggml's version and commit, and that of the binding
    system_info: str  # CPU features, as llama.cpp prints them
    devices: tuple[str, ...]  # backend devices, "CPU: AMD EPYC …"
    library_sha256: str  # over the loaded libraries

    @property
    def identity(self) -> str:
        """Short hex digest of everything above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """A text in a model's tokens, with the model's own BOS and EOS rules applied once to the whole."""

    tokens: NDArray[np.int32] = field(compare=False, repr=False)
    sha256: str  # of the text's bytes
    n_vocab: int

    def n_chunks(self, ctx_size: int) -> int:
        """Whole chunks in the text; the rest is left over, as in llama-perplexity."""
        return int(self.tokens.size) // ctx_size

    def __len__(self) -> int:
        return int(self.tokens.size)


class Evaluator(Protocol):
    """Scores candidates against a reference. Paths of a model: one file, one file of a split, or every shard in order.

    All methods raise EvaluationError or one of its kinds; after EngineCrash or EngineTimeout the next call works again.
    """

    @property
    def settings(self) -> RuntimeSettings: ...

    def engine(self) -> EngineInfo: ...

    def tokenize(self, model_paths: Sequence[Path], text: Path) -> TokenizedText: ...

    def build_reference(
        self,
        model_paths: Sequence[Path],
        text: Path,
        folder: Path,
        *,
        chunks: int | None,
        identity: str,
        progress: Progress | None = None,
    ) -> Reference:
        """Fill `folder` with the model's logits on the first `chunks` chunks (None: all), keeping what is there.

        `identity` is the caller's name of the model (a fingerprint); a folder of another identity is refused.
        """
        ...

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        """Divergence on these chunks. `reference` is a folder, or a --kl-divergence-base file of llama-perplexity.

        Other `settings` than the reference's are allowed only when given here, and only at the same chunk length:
        that is how the noise of batch shapes and thread counts is measured.
        """
        ...

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        """Greedy answers. `drafts`: question id -> tokens of another model's answer to it, which make it faster.

        `progress` is told how many questions are answered, also between two answers: the same figures may come again.
        """
        ...

    def collect_activations(
        self,
        model_paths: Sequence[Path],
        text: Path,
        path: Path,
        *,
        identity: str,
        chunks: int | None = None,
        process_output: bool = False,
        save_every: int = 10,
        progress: Progress | None = None,
    ) -> Collected:
        """Sum the squared activations of every weight over a text into the file `path`, as llama-imatrix does.

        A file that an interrupted call left there is continued. See evaluators.imatrix.
        """
        ...

    def block_influence(
        self, model_paths: Sequence[Path], text: Path, *, chunks: int, progress: Progress | None = None
    ) -> tuple[float, ...]:
        """How much each block changes the hidden state over the first chunks of a text: evaluators.block_influence."""
        ...

    def release(self) -> None:
        """Let go of the loaded model and the mapped reference; the next call loads again."""
        ...

    def close(self) -> None: ...
