"""Score recipes on one text, each range of chunks once in a lifetime: what SQL knows is never evaluated again."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from evaluators.divergence import ChunkScore, Score, merge_scores
from optimizer.progress import Reporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.draw import Draw
from optimizer.search.scoring import MeasuredText, Scorer
from optimizer.store import Lease, ModelRecord, NewEvaluation, RecipeRecord, Store

REMEMBERED = 256
"""Rows of recipes; 1,000 tensors take some 50 kB."""


class Recipes(Protocol):
    """Sizes as llama-quantize would write them (`optimizer.recipes.sizes.SizeTable`)."""

    def file_size(self, recipe: Recipe, *, plain: bool) -> int: ...


@dataclass(frozen=True)
class Measurement:
    """A recipe's score, and what it cost now (0 tokens when everything was known)."""

    score: Score
    recipe: RecipeRecord
    new_tokens: int
    kld_percentiles: Mapping[str, float]

    @property
    def by_chunk(self) -> dict[int, float]:
        """Chunk number -> mean KLD, nats per token."""
        return {chunk.chunk: chunk.mean_kld for chunk in self.score.chunks}


class Measurer:
    """Scores recipes of one model on one text, or on what was drawn from it; safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        lease: Lease | None,
        scorer: Scorer,
        model: ModelRecord,
        sizes: Recipes,
        text: MeasuredText,
        reporter: Reporter,
        draw: Draw | None = None,
    ) -> None:
        """draw: of the text's chunks; those it counts are then all there are."""
        self._store = store
        self._lease = lease
        self._scorer = scorer
        self._model = model
        self._sizes = sizes
        self._reporter = reporter
        self._recorded: dict[str, RecipeRecord] = {}
        self._lock = threading.Lock()
        self._draw = draw
        self._whole_text = text
        self.text = text if draw is None else replace(text, n_chunks=len(draw.order))

    @property
    def batch(self) -> int:
        """Chunks that are decoded together."""
        return self._scorer.settings.n_sequences

    @property
    def scorer(self) -> Scorer:
        return self._scorer

    @property
    def model_id(self) -> int:
        return self._model.id

    def drawn(self, draw: Draw) -> "Measurer":
        """One of the drawn chunks alone: `measure` takes them in the draw's order, and scores are as they count."""
        parts = (self._store, self._lease, self._scorer, self._model, self._sizes, self._whole_text, self._reporter)
        return Measurer(*parts, draw)

    def record(self, recipe: Recipe) -> RecipeRecord:
        """The recipe's row; those asked for last are remembered, since each trial asks several times."""
        key = recipe.key
        found = self._recorded.get(key)
        if found is None:
            plain = self._sizes.file_size(recipe, plain=True)
            found = self._store.add_recipe(self._model.id, key, recipe.tensor_types, plain_bytes=plain)
            with self._lock:
                if len(self._recorded) >= REMEMBERED:
                    self._recorded.pop(next(iter(self._recorded)))
                self._recorded[key] = found
        return found

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "", *, start: int = 0) -> Measurement:
        """The score on the first chunks; ranges that SQL does not have are evaluated, and kept at once.

        start: the place in a draw's order to begin at; its first chunk follows its last. Without a draw it is 0.
        """
        if self._draw is None:
            return self.measure_chunks(recipe, range(n_chunks), label)
        raw = self.measure_chunks(recipe, sorted(self._draw.turned(start).order[:n_chunks]), label)
        return replace(raw, score=self._draw.counted(raw.score.chunks))

    def measure_chunks(self, recipe: Recipe, chunks: Sequence[int], label: str = "") -> Measurement:
        """The same on any chunks, in rising order. What is missing of a range is scored range by range, else at
        once."""
        record = self.record(recipe)
        known = self._store.find_evaluations(record.id, self.text.text_id, self.text.settings_key)
        scores = {chunk["chunk"]: ChunkScore.from_dict(chunk) for row in known for chunk in row.chunks}
        whole = (0, len(chunks)) if isinstance(chunks, range) and chunks.start == 0 else None
        percentiles: Mapping[str, float] = next(
            (row.summary["kld_percentiles"] for row in known if (row.first_chunk, row.n_chunks) == whole), {}
        )
        new_tokens = 0
        missing = [chunk for chunk in chunks if chunk not in scores]
        for part in _runs(missing) if isinstance(chunks, range) else [missing] if missing else []:
            score = self._evaluate(recipe, record, part, label)
            scores.update({chunk.chunk: chunk for chunk in score.chunks})
            new_tokens += len(part) * self.text.tokens_per_chunk
            if (part[0], len(part)) == whole:
                percentiles = score.kld_percentiles
        wanted = tuple(scores[chunk] for chunk in chunks)
        return Measurement(merge_scores([Score(wanted)]), record, new_tokens, percentiles)

    def _evaluate(self, recipe: Recipe, record: RecipeRecord, chunks: Sequence[int], label: str) -> Score:
        """One call, kept as a row for every run of neighbouring chunks."""
        started = time.monotonic()
        score = self._scorer.score(
            recipe, self._whole_text, chunks, lambda done, total: self._reporter.work(done, total, label)
        )
        seconds = (time.monotonic() - started) / len(chunks)
        by_chunk = {chunk.chunk: chunk for chunk in score.chunks}
        runs = _runs(chunks)
        parts = [score] if len(runs) == 1 else [Score(tuple(by_chunk[chunk] for chunk in run)) for run in runs]
        self._store.add_evaluations(
            [
                NewEvaluation(
                    recipe_id=record.id,
                    text_id=self.text.text_id,
                    settings_key=self.text.settings_key,
                    first_chunk=run[0],
                    n_chunks=len(run),
                    tokens=len(run) * self.text.tokens_per_chunk,
                    chunks=tuple(chunk.as_dict() for chunk in part.chunks),
                    summary=part.as_json(),
                    duration_seconds=seconds * len(run),
                )
                for run, part in zip(runs, parts, strict=True)
            ],
            self._lease,
        )
        return score


def _runs(chunks: Sequence[int]) -> list[list[int]]:
    """Rising chunk numbers in runs of neighbours."""
    runs: list[list[int]] = []
    for chunk in chunks:
        if runs and runs[-1][-1] == chunk - 1:
            runs[-1].append(chunk)
        else:
            runs.append([chunk])
    return runs
