"""Score recipes on one text, each range of chunks once in a lifetime: what SQL knows is never evaluated again."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from evaluators.divergence import ChunkScore, Score, merge_scores
from optimizer.progress import Reporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.scoring import MeasuredText, Scorer
from optimizer.store import Lease, ModelRecord, NewEvaluation, RecipeRecord, Store


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
    """Scores recipes of one model on one text; safe to call from several threads."""

    def __init__(
        self,
        store: Store,
        lease: Lease | None,
        scorer: Scorer,
        model: ModelRecord,
        sizes: Recipes,
        text: MeasuredText,
        reporter: Reporter,
    ) -> None:
        self._store = store
        self._lease = lease
        self._scorer = scorer
        self._model = model
        self._sizes = sizes
        self._reporter = reporter
        self.text = text

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

    def record(self, recipe: Recipe) -> RecipeRecord:
        plain = self._sizes.file_size(recipe, plain=True)
        return self._store.add_recipe(self._model.id, recipe.key, recipe.tensor_types, plain_bytes=plain)

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "") -> Measurement:
        """The score on chunks 0 … n_chunks-1; ranges that SQL does not have are evaluated, and kept at once."""
        record = self.record(recipe)
        known = self._store.find_evaluations(record.id, self.text.text_id, self.text.settings_key)
        scores = {chunk["chunk"]: ChunkScore.from_dict(chunk) for row in known for chunk in row.chunks}
        percentiles: Mapping[str, float] = next(
            (row.summary["kld_percentiles"] for row in known if (row.first_chunk, row.n_chunks) == (0, n_chunks)), {}
        )
        new_tokens = 0
        for first, last in _gaps(scores, n_chunks):
            score = self._evaluate(recipe, record, range(first, last), label)
            scores.update({chunk.chunk: chunk for chunk in score.chunks})
            new_tokens += (last - first) * self.text.tokens_per_chunk
            if (first, last) == (0, n_chunks):
                percentiles = score.kld_percentiles
        wanted = tuple(scores[chunk] for chunk in range(n_chunks))
        return Measurement(merge_scores([Score(wanted)]), record, new_tokens, percentiles)

    def _evaluate(self, recipe: Recipe, record: RecipeRecord, chunks: range, label: str) -> Score:
        started = time.monotonic()
        score = self._scorer.score(
            recipe, self.text, chunks, lambda done, total: self._reporter.work(done, total, label)
        )
        self._store.add_evaluations(
            [
                NewEvaluation(
                    recipe_id=record.id,
                    text_id=self.text.text_id,
                    settings_key=self.text.settings_key,
                    first_chunk=chunks.start,
                    n_chunks=len(chunks),
                    tokens=len(chunks) * self.text.tokens_per_chunk,
                    chunks=tuple(chunk.as_dict() for chunk in score.chunks),
                    summary=score.as_json(),
                    duration_seconds=time.monotonic() - started,
                )
            ],
            self._lease,
        )
        return score


def _gaps(known: Mapping[int, ChunkScore], n_chunks: int) -> Sequence[tuple[int, int]]:
    """Half-open ranges of the chunks below `n_chunks` that are not known."""
    gaps: list[tuple[int, int]] = []
    for chunk in range(n_chunks):
        if chunk in known:
            continue
        if gaps and gaps[-1][1] == chunk:
            gaps[-1] = (gaps[-1][0], chunk + 1)
        else:
            gaps.append((chunk, chunk + 1))
    return gaps
