"""What stock presets would lose at any number of bytes: ln KLD linear in bytes between the two around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.search.non_dominated import non_dominated


@dataclass(frozen=True)
class LadderPoint:
    """A stock preset: bytes of its file, mean KLD in nats per token."""

    name: str
    n_bytes: int
    kld: float


@dataclass(frozen=True)
class Interpolated:
    """`extrapolated`: the bytes lie beyond the ladder's end, and the nearest end's KLD is given."""

    kld: float
    extrapolated: bool


def undominated(points: Sequence[LadderPoint]) -> list[LadderPoint]:
    """Smallest first, without presets that another beats at no more bytes; KLD falls strictly along the result."""
    return non_dominated(points, lambda point: (point.n_bytes, point.kld))


def preset_kld_at(points: Sequence[LadderPoint], n_bytes: int) -> Interpolated | None:
    """The ladder's KLD at `n_bytes`; None without any point. Points of no damage (KLD <= 0) are left out."""
    ladder = undominated([point for point in points if point.kld > 0])
    if not ladder:
        return None
    if n_bytes <= ladder[0].n_bytes:
        return Interpolated(ladder[0].kld, n_bytes < ladder[0].n_bytes)
    if n_bytes >= ladder[-1].n_bytes:
        return Interpolated(ladder[-1].kld, n_bytes > ladder[-1].n_bytes)
    upper = next(i for i, point in enumerate(ladder) if point.n_bytes >= n_bytes)
    low, high = ladder[upper - 1], ladder[upper]
    share = (n_bytes - low.n_bytes) / (high.n_bytes - low.n_bytes)
    return Interpolated(math.exp((1 - share) * math.log(low.kld) + share * math.log(high.kld)), False)
