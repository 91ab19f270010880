"""How a trial without some layers is told from the others: by its origin, `prune:3,5`."""

from collections.abc import Sequence

from optimizer.store import TrialRecord

ORIGIN = "prune:"
"""What the origin of a trial without layers begins with; the layers follow."""


def origin_of(layers: Sequence[int]) -> str:
    return ORIGIN + ",".join(map(str, layers))


def is_pruned(trial: TrialRecord) -> bool:
    """Whether the trial's file lacks layers."""
    return trial.origin.startswith(ORIGIN)


def pruned_layers(trial: TrialRecord) -> tuple[int, ...]:
    return tuple(int(layer) for layer in trial.origin.removeprefix(ORIGIN).split(",")) if is_pruned(trial) else ()
