"""How much a model differs from itself when only the shape of the computation changes.

Floating-point sums depend on batch shape and thread count, so the same weights give slightly different logits. A
difference between candidates below the largest of these is no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluators.evaluator import Evaluator, Progress
from evaluators.settings import RuntimeSettings


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Mean KLD (nats per token) of the reference against itself, by what was changed."""

    by_change: dict[str, float]

    @property
    def mean_kld(self) -> float:
        """The largest of them, never below zero."""
        return max(0.0, *self.by_change.values())


def other_shapes(settings: RuntimeSettings) -> dict[str, RuntimeSettings]:
    """The settings themselves, and each change of shape or threads that differs from them."""
    shapes = {
        "same shape": settings,
        "half ubatch": replace(settings, ubatch_size=max(1, settings.ubatch_size // 2)),
        "one chunk a batch": replace(settings, batch_size=settings.ctx_size),
        "one thread": replace(settings, threads=1),
    }
    distinct: dict[str, RuntimeSettings] = {}
    for name, shape in shapes.items():
        if all(shape.as_dict() != other.as_dict() for other in distinct.values()):
            distinct[name] = shape
    return distinct


def measure_noise_floor(
    evaluator: Evaluator,
    model_paths: Sequence[Path],
    reference: Path,
    chunks: Sequence[int],
    progress: Progress | None = None,
) -> NoiseFloor:
    """Score the reference's own model once for each shape; a few chunks are enough.

    `progress` counts shapes. Raises what `Evaluator.score` raises.
    """
    shapes = other_shapes(evaluator.settings)
    found: dict[str, float] = {}
    for name, settings in shapes.items():
        found[name] = evaluator.score(model_paths, reference, chunks, settings=settings).mean_kld
        if progress is not None:
            progress(len(found), len(shapes))
    evaluator.release()
    return NoiseFloor(found)
