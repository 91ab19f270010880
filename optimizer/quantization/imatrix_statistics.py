"""The figures of `llama-imatrix --show-statistics`, in its own float32 arithmetic (tools/imatrix/imatrix.cpp).

Over the mean squared activations a of a weight, one a column, matrices that were never called left out:

- total = sum a; minimum, maximum, mean; sigma = sqrt(mean(a^2) - mean^2)
- active: share of the columns with a > 1e-5
- entropy = -sum p log2 p with p = a / total, in bits; normalised: over log2 of the number of columns
- zd: share of the columns with (a - mean) / sigma > 1 (ZD score, arXiv 2406.17415)
- cosine: similarity of the sums to those of the same weight in the block before; 0 where there is none

A layer's figures are the means of its weights', weighted by their columns.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optimizer.quantization.imatrix_file import ImatrixFile

_BLOCK = re.compile(r"blk\.(\d+)\.")
_LEGACY_CHUNK = np.float32(512)  # what the tool takes a legacy file's chunks for
_INACTIVE = np.float32(1e-5)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WeightStatistics:
    """Of one weight; `columns` counts those of all matrices that were called."""

    name: str
    total: float
    minimum: float
    maximum: float
    mean: float
    sigma: float
    active: float  # 0-1
    columns: int
    entropy: float  # bits
    entropy_normalised: float  # 0-1
    zd: float  # 0-1
    cosine: float

    @property
    def layer(self) -> int | None:
        found = re.search(r"(?:^|\.)blk\.(\d+)(?:\.|$)", self.name)
        return int(found[1]) if found else None

    @property
    def role(self) -> str:
        """attn_q of blk.3.attn_q.weight."""
        words = self.name.split(".")
        places = [place for place, word in enumerate(words) if word == "weight" and place > 0]
        return words[places[0] - 1] if places else self.name


@dataclass(frozen=True, slots=True)
class LayerStatistics:
    """Means over a layer's weights, weighted by their columns."""

    layer: int
    total: float
    zd: float  # 0-1
    cosine: float


@dataclass(frozen=True)
class ImatrixStatistics:
    """`weights` by role, the largest total first; `empty`: weights without any data."""

    weights: tuple[WeightStatistics, ...]
    layers: tuple[LayerStatistics, ...]
    empty: tuple[str, ...]


def statistics_of(file: ImatrixFile) -> ImatrixStatistics:
    """Read the file once; beside the weight under way only the block before's sums are held."""
    found, empty = [], []
    before: dict[str, Floats] = {}
    for entry in file.entries(sorted(file.names, key=_role_and_block)):
        sums = entry.sums * _LEGACY_CHUNK if file.is_legacy else entry.sums
        counts = entry.counts * _LEGACY_CHUNK if file.is_legacy else entry.counts
        means = _called_means(sums, counts)
        cosine = _cosine(entry.name, sums, before)
        if means.size:
            found.append(_describe(entry.name, means, cosine))
        else:
            empty.append(entry.name)
    ordered = sorted(found, key=lambda each: (each.role, -each.total))
    return ImatrixStatistics(tuple(ordered), tuple(_layers(ordered)), tuple(empty))


def _role_and_block(name: str) -> tuple[str, int]:
    """A weight comes right after the same weight of the block before."""
    found = _BLOCK.search(name)
    return _BLOCK.sub("blk.", name, count=1), int(found[1]) if found else -1


def _called_means(sums: Floats, counts: Floats) -> Floats:
    columns = sums.reshape(counts.size, -1)
    called = counts != 0
    means: Floats = (columns[called] / counts[called][:, None]).reshape(-1)
    return means


def _in_order(values: Floats) -> np.float32:
    """The sum in float32, one value after the other: NumPy's own sum takes another order."""
    return np.float32(np.cumsum(values, dtype=np.float32)[-1])


def _describe(name: str, means: Floats, cosine: float) -> WeightStatistics:
    count = np.float32(means.size)
    total = _in_order(means)
    mean = total / count
    variance = _in_order(means * means) / count - mean * mean
    sigma = np.sqrt(max(np.float32(0), variance))
    entropy = np.float32(0)
    if total > 0:
        shares = means / total
        shares = shares[shares > 0]
        entropy = _in_order(-(shares * np.log2(shares)))
    above = int(((means - mean) / sigma > 1).sum()) if sigma > 0 else 0
    inactive = int((np.abs(means) <= _INACTIVE).sum())
    return WeightStatistics(
        name=name,
        total=float(total),
        minimum=float(means.min()),
        maximum=float(means.max()),
        mean=float(mean),
        sigma=float(sigma),
        active=1.0 - inactive / means.size,
        columns=means.size,
        entropy=float(entropy),
        entropy_normalised=float(entropy) / np.log2(means.size) if means.size > 1 else 0.0,
        zd=above / means.size,
        cosine=cosine,
    )


def _cosine(name: str, sums: Floats, before: dict[str, Floats]) -> float:
    """Similarity to the block before; what it needs is kept in `before`, and what nobody needs any more is let go."""
    found = _BLOCK.search(name)
    if found is None:
        return 0.0
    previous = before.get(_BLOCK.sub(f"blk.{int(found[1]) - 1}.", name, count=1))
    before.clear()
    before[name] = sums
    if previous is None or previous.size != sums.size:
        return 0.0
    norms = np.sqrt(_in_order(sums * sums)) * np.sqrt(_in_order(previous * previous))
    return float(_in_order(sums * previous) / norms) if norms > 0 else 0.0


def _layers(weights: Sequence[WeightStatistics]) -> Iterator[LayerStatistics]:
    for layer in sorted({each.layer for each in weights if each.layer is not None}):
        mine = [each for each in weights if each.layer == layer]
        columns = sum(each.columns for each in mine)
        total, zd, cosine = (
            sum(each.columns * getattr(each, name) for each in mine) / columns for name in ("total", "zd", "cosine")
        )
        yield LayerStatistics(layer, total, zd, cosine)
