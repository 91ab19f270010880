"""The evaluator that computes in this process. A failed assertion of llama.cpp ends the process with it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators.base_file import BaseFile, encode_records, file_bytes, is_base_file, write_base_file
from evaluators.block_influence import block_influence
from evaluators.comparison import TokenValues, compare, encode, joined
from evaluators.divergence import Score
from evaluators.errors import ReferenceMismatch
from evaluators.evaluator import EngineInfo, Progress, TokenizedText
from evaluators.generation.engine import GreedyEngine
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation
from evaluators.imatrix import Collected
from evaluators.imatrix.collecting import collect_activations
from evaluators.reference import Reference, ReferenceChunk, chunk_bytes, protocol_differences, require_disk_space
from evaluators.runtime import Runtime, ScoredLogits, engine_info, tokenize
from evaluators.scoring import checked_chunks, require_vocabulary, score_chunks
from evaluators.settings import RuntimeSettings
from evaluators.targets import count_chunks, is_last, targets_of

_Stamp = tuple[tuple[str, int, int], ...]


class InProcessEvaluator:
    """Keeps the last candidate loaded, so that scoring more chunks of it costs no second load."""

    def __init__(self, settings: RuntimeSettings | None = None) -> None:
        self._settings = settings or RuntimeSettings()
        self._runtime: Runtime | None = None
        self._loaded: tuple[_Stamp, RuntimeSettings] | None = None
        self._reference: tuple[Path, int, Reference] | None = None

    @property
    def settings(self) -> RuntimeSettings:
        return self._settings

    def engine(self) -> EngineInfo:
        return engine_info()

    def tokenize(self, model_paths: Sequence[Path], text: Path) -> TokenizedText:
        return tokenize(model_paths, text)

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
        tokenized = tokenize(model_paths, text)
        wanted = count_chunks(tokenized, text, self._settings, chunks)
        folder.mkdir(parents=True, exist_ok=True)
        reference = Reference.prepare(
            folder,
            identity=identity,
            text_sha256=tokenized.sha256,
            settings=self._settings,
            engine={**asdict(self.engine()), "identity": self.engine().identity},
            n_vocab=tokenized.n_vocab,
            tokens=tokenized.tokens[: wanted * self._settings.ctx_size],
        )
        missing = [chunk for chunk in reference.missing_chunks() if chunk < wanted]
        require_disk_space(folder, len(missing) * chunk_bytes(reference.scored_per_chunk, reference.n_vocab))
        if missing:
            self._fill(reference, model_paths, missing, wanted, progress)
        self.release()
        return Reference.open(folder)

    def _fill(
        self,
        reference: Reference,
        model_paths: Sequence[Path],
        missing: Sequence[int],
        wanted: int,
        progress: Progress | None,
    ) -> None:
        runtime = self._load(model_paths, self._settings)
        rows: list[ReferenceChunk] = []
        done = wanted - len(missing)
        for step in runtime.decode(reference.tokens, missing):
            targets = targets_of(reference.tokens, self._settings, step)
            rows.append(encode(step.logits, targets))
            if not is_last(step, self._settings):
                continue
            reference.write_chunk(step.chunk, joined(rows))
            rows.clear()
            done += 1
            if progress is not None:
                progress(done, wanted)

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        if is_base_file(reference):
            return self._score_base_file(candidate_paths, BaseFile.open(reference), chunks, progress, settings)
        kept = self._open_reference(reference)
        used = settings or self._settings
        differences = protocol_differences(kept.settings, used)
        if settings is not None and kept.settings.ctx_size == settings.ctx_size:
            differences = []
        if differences:
            raise ReferenceMismatch(
                f"the reference {reference} was made with other settings: {'; '.join(differences)}; "
                "use its settings, or build a reference with yours"
            )
        chunks = checked_chunks(chunks, kept.n_chunks, reference)
        runtime = self._load(candidate_paths, used)
        require_vocabulary(runtime, kept.n_vocab, candidate_paths, reference)
        current: list[tuple[int, ReferenceChunk]] = []

        def against(step: ScoredLogits, targets: NDArray[np.int32]) -> TokenValues:
            if not current or current[0][0] != step.chunk:
                current[:] = [(step.chunk, kept.read_chunk(step.chunk))]
            return compare(step.logits, targets, current[0][1], step.first_row)

        return score_chunks(runtime, kept.tokens, chunks, against, progress)

    def _score_base_file(
        self,
        candidate_paths: Sequence[Path],
        base: BaseFile,
        chunks: Sequence[int],
        progress: Progress | None,
        settings: RuntimeSettings | None,
    ) -> Score:
        # The file says nothing of its settings but the chunk length, which therefore decides.
        used = replace(settings or self._settings, ctx_size=base.ctx_size)
        chunks = checked_chunks(chunks, base.n_chunks, base.path)
        runtime = self._load(candidate_paths, used)
        require_vocabulary(runtime, base.n_vocab, candidate_paths, base.path)
        current: list[tuple[int, NDArray[np.uint16]]] = []

        def against(step: ScoredLogits, targets: NDArray[np.int32]) -> TokenValues:
            if not current or current[0][0] != step.chunk:
                current[:] = [(step.chunk, base.records(step.chunk))]
            return base.compare(step.logits, targets, current[0][1], step.first_row)

        return score_chunks(runtime, base.tokens, chunks, against, progress)

    def write_base_file(
        self,
        model_paths: Sequence[Path],
        text: Path,
        path: Path,
        *,
        chunks: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the model's logits on the text as `llama-perplexity --kl-divergence-base` would."""
        tokenized = tokenize(model_paths, text)
        wanted = count_chunks(tokenized, text, self._settings, chunks)
        tokens = tokenized.tokens[: wanted * self._settings.ctx_size]
        require_disk_space(path.parent, file_bytes(self._settings.ctx_size, tokenized.n_vocab, wanted))
        runtime = self._load(model_paths, self._settings)

        def rows() -> Iterator[NDArray[np.uint16]]:
            done = 0
            for step in runtime.decode(tokens, range(wanted)):
                yield encode_records(step.logits)
                if is_last(step, self._settings):
                    done += 1
                    if progress is not None:
                        progress(done, wanted)

        write_base_file(path, tokens, self._settings.ctx_size, tokenized.n_vocab, rows())

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        self._drop_runtime()  # two contexts may not fit
        with GreedyEngine(model_paths, self._settings, settings) as engine:
            return engine.generate(questions, drafts, progress)

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
        self._drop_runtime()  # two models may not fit
        return collect_activations(
            model_paths, text, path, self._settings, identity=identity, chunks=chunks, process_output=process_output,
            save_every=save_every, progress=progress,
        )  # fmt: skip

    def block_influence(
        self, model_paths: Sequence[Path], text: Path, *, chunks: int, progress: Progress | None = None
    ) -> tuple[float, ...]:
        self._drop_runtime()  # two models may not fit
        return block_influence(model_paths, text, self._settings, chunks=chunks, progress=progress)

    def _load(self, paths: Sequence[Path], settings: RuntimeSettings) -> Runtime:
        wanted = (_stamp(paths), settings)
        if self._runtime is None or self._loaded != wanted:
            # The old model goes first: two may not fit.
            self._drop_runtime()
            self._runtime = Runtime(paths, settings)
            self._loaded = wanted
        return self._runtime

    def _open_reference(self, folder: Path) -> Reference:
        # Kept, since it remembers which chunks' checksums were verified.
        try:
            stamp = (folder / "tokens.npy").stat().st_mtime_ns
        except OSError:
            stamp = 0
        if self._reference is None or self._reference[:2] != (folder, stamp):
            self._reference = (folder, stamp, Reference.open(folder))
        return self._reference[2]

    def _drop_runtime(self) -> None:
        if self._runtime is not None:
            self._runtime.close()
        self._runtime = self._loaded = None

    def release(self) -> None:
        self._drop_runtime()
        self._reference = None

    def close(self) -> None:
        self.release()


def _stamp(paths: Sequence[Path]) -> _Stamp:
    stamps = []
    for path in paths:
        try:
            status = os.stat(path)
            stamps.append((str(path), status.st_size, status.st_mtime_ns))
        except OSError:
            stamps.append((str(path), -1, -1))
    return tuple(stamps)
