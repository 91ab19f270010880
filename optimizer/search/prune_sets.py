"""What leaving out layers costs before anything is quantized.

The cost of a set is probed: the KLD of the model without these layers, all others as the probes leave them. Sets grow
greedily: single layers first, then the best set so far with each other candidate.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.markup import escape

from evaluators.errors import EvaluationError
from optimizer.gguf.model_file import ModelFile
from optimizer.search.measuring import Measurer
from optimizer.search.probing import ProbeBase
from optimizer.search.stored_progress import StoredProgress

BLOCK_INFLUENCE = "block_influence"
PRUNE_SETS = "prune_sets"
"""Keys of a study's progress: influence by layer, and the sets that were probed."""
INFLUENCE_CHUNKS = 8
LEAST_COST = 1e-9
"""Nats per token: what a set costs at least, for a probe may come out below its base."""


@dataclass(frozen=True)
class PruneSet:
    """Layers left out together. kld: nats per token more than the same model with them, on the probes' chunks."""

    layers: tuple[int, ...]
    kld: float
    standard_error: float

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "PruneSet":
        return cls(tuple(document["layers"]), float(document["kld"]), float(document["standard_error"]))


def measure_influence(model: ModelFile, measurer: Measurer, progress: StoredProgress) -> tuple[float, ...]:
    """Block influence by layer, without those that predict several tokens; kept with the study."""
    known = progress.kept(BLOCK_INFLUENCE)
    if known is None:
        chunks = min(INFLUENCE_CHUNKS, measurer.text.n_chunks)
        progress.phase("block influence", chunks)
        known = measurer.scorer.block_influence(measurer.text.path, chunks, lambda done, _: progress.advance(done))
        progress.keep(BLOCK_INFLUENCE, list(known))
    return tuple(known[: model.n_layer - model.n_nextn_layer])


def probe_sets(
    candidates: Sequence[int],
    most: int,
    base: ProbeBase,
    measurer: Measurer,
    n_chunks: int,
    progress: StoredProgress,
    before_each: Callable[[], None],
) -> tuple[PruneSet, ...]:
    """Every set of up to `most` layers that the greedy walk meets; one that cannot be evaluated is left out."""
    progress.phase("prune probes", sum(len(candidates) - size for size in range(most)))
    base_kld = 0.0 if base.is_source else measurer.measure(base.recipe, n_chunks, "probe base").score.mean_kld
    found: list[PruneSet] = []
    best: tuple[int, ...] = ()
    done = 0
    for _ in range(most):
        grown: list[PruneSet] = []
        for layer in candidates:
            if layer in best:
                continue
            before_each()
            layers = tuple(sorted((*best, layer)))
            label = f"without {','.join(map(str, layers))}"
            try:
                score = measurer.measure(base.recipe.without_layers(layers), n_chunks, label).score
                kld = max(score.mean_kld - base_kld, LEAST_COST)
                grown.append(PruneSet(layers, kld, score.mean_kld_standard_error))
            except EvaluationError as error:
                progress.line(f"[yellow]{label}: left out, it cannot be evaluated: {escape(str(error))}[/yellow]")
            done += 1
            progress.advance(done, label)
        if not grown:
            break
        found += grown
        best = min(grown, key=lambda each: (each.kld, each.layers)).layers
    progress.keep(PRUNE_SETS, [asdict(each) for each in found])
    return tuple(found)
