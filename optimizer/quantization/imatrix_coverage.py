"""Which weights of a model an importance matrix says something about, and what is forbidden for the others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from optimizer.gguf.header import TensorInfo
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.quantization.imatrix import Imatrix, needs_importance
from optimizer.quantization.imatrix_file import ImatrixFile


@dataclass(frozen=True, slots=True)
class Experts:
    """A weight of several matrices of which some were never called; llama-quantize takes 1 for all their columns."""

    name: str
    total: int
    without_data: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """`missing`: quantizable weights without a value -> the types that they cannot have because of that."""

    covered: int
    missing: dict[str, tuple[str, ...]]
    experts: tuple[Experts, ...]
    unknown: tuple[str, ...]  # names that are no tensor of the model

    @property
    def forbidden(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        """Types -> the weights that cannot have them."""
        found: dict[tuple[str, ...], list[str]] = {}
        for name, types in self.missing.items():
            found.setdefault(types, []).append(name)
        return {types: tuple(names) for types, names in found.items()}


def experts_without_data(file: ImatrixFile) -> tuple[Experts, ...]:
    """Weights of which some matrices, but not all, were never called; a legacy file does not say."""
    if file.is_legacy:
        return ()
    found = []
    for name, counts in file.counts():
        idle = np.flatnonzero(counts == 0)
        if counts.size > 1 and idle.size:
            found.append(Experts(name, counts.size, tuple(int(each) for each in idle)))
    return tuple(found)


def coverage(file: ImatrixFile, tensors: Iterable[TensorInfo], quantizable: Sequence[str]) -> Coverage:
    """What the file covers of a model's `tensors`, and what that forbids for the `quantizable` ones."""
    names, known = set(file.names), {tensor.name for tensor in tensors}
    missing = {name: _forbidden(name) for name in quantizable if name not in names}
    return Coverage(
        covered=len(quantizable) - len(missing),
        missing=missing,
        experts=experts_without_data(file),
        unknown=tuple(name for name in file.names if name not in known),
    )


def _forbidden(name: str) -> tuple[str, ...]:
    return tuple(each for each in TARGET_TYPES if needs_importance(name, each))


def uncovered_notes(imatrix: Imatrix, quantizable: Iterable[str]) -> list[str]:
    """Which types a plan with this matrix does not offer for how many weights, one line for each list of types."""
    found: dict[tuple[str, ...], list[str]] = {}
    for name in quantizable:
        if not imatrix.covered(name) and _forbidden(name):
            found.setdefault(_forbidden(name), []).append(name)
    return [
        f"{imatrix.path.name} has no data for {len(names)} {'weight' if len(names) == 1 else 'weights'} "
        f"({names[0]}{', …' if len(names) > 1 else ''}), so there {', '.join(types)} "
        f"{'is' if len(types) == 1 else 'are'} not offered"
        for types, names in found.items()
    ]
