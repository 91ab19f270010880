"""The Pareto front over several budgets: one winner each, verified on report text, and the volume they dominate.

Hypervolume, with K(b) the least KLD of a file of at most b bytes, and (B, R) the reference point:

    H = integral from 0 to B of max(0, ln(R / K(b))) db        (bytes x nats of ln KLD)

B is the largest budget, R the KLD of the smallest file measured, both fixed, so that the volume never shrinks as
files are added. H / (B - bytes of the smallest file) is the mean of ln(R / K) over the sizes between them.
Source of the measure: Zitzler and Thiele, "Multiobjective optimization using evolutionary algorithms" (1998).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.search.interpolation import LadderPoint, undominated
from optimizer.search.racing import compare

SURE = 2.0
"""Paired standard errors from which a difference counts."""


@dataclass(frozen=True)
class Verified:
    """A budget's winner on report text; `by_chunk`: chunk -> mean KLD, nats per token."""

    budget: str
    budget_bytes: int
    trial: int
    size_bytes: int
    mean_kld: float
    standard_error: float
    by_chunk: Mapping[int, float]


@dataclass(frozen=True)
class FrontPoint:
    """`offered`: what to use at this budget: its winner, or a smaller budget's that loses less on report text.

    `why_not`: why the winner is not on the front; None where it is.
    """

    winner: Verified
    offered: Verified
    why_not: str | None

    def as_json(self) -> dict[str, Any]:
        return {
            "budget": self.winner.budget,
            "budget_bytes": self.winner.budget_bytes,
            **_figures(self.winner),
            "on_front": self.why_not is None,
            "why_not": self.why_not,
            "offered": _figures(self.offered),
        }


@dataclass(frozen=True)
class Reference:
    """The corner that volumes are measured from, and the bytes of the smallest file."""

    n_bytes: int
    kld: float
    smallest_bytes: int

    def mean_log_reduction(self, volume: float) -> float:
        span = self.n_bytes - self.smallest_bytes
        return volume / span if span > 0 else 0.0


def make_front(winners: Sequence[Verified]) -> list[FrontPoint]:
    """One point a budget, small first; a larger budget may always use a smaller budget's file."""
    points: list[FrontPoint] = []
    best: Verified | None = None
    for each in sorted(winners, key=lambda winner: winner.budget_bytes):
        if best is None or each.mean_kld <= best.mean_kld:
            best = each
            points.append(FrontPoint(each, each, None))
        else:
            points.append(FrontPoint(each, best, _explain(each, best)))
    return points


def reference_point(files: Iterable[tuple[int, float]], largest_budget: int) -> Reference | None:
    """files: (bytes, KLD) of everything measured; None where nothing fits or the smallest loses nothing."""
    fitting = [(n_bytes, kld) for n_bytes, kld in files if n_bytes <= largest_budget]
    if not fitting or min(fitting)[1] <= 0:
        return None
    smallest_bytes, kld = min(fitting)
    return Reference(largest_budget, kld, smallest_bytes)


def hypervolume(files: Iterable[tuple[int, float]], reference: Reference) -> float:
    """H of the module's docstring. files: (bytes, KLD); those of no damage or beyond the reference add nothing."""
    inside = [
        LadderPoint("", n_bytes, kld) for n_bytes, kld in files if n_bytes <= reference.n_bytes and 0 < kld < math.inf
    ]
    steps = [point for point in undominated(inside) if point.kld < reference.kld]
    ends = [*(point.n_bytes for point in steps), reference.n_bytes][1:]
    return sum(
        (end - point.n_bytes) * math.log(reference.kld / point.kld) for point, end in zip(steps, ends, strict=True)
    )


def hypervolume_over_tokens(
    trials: Iterable[tuple[int, int, float | None]], reference: Reference, tokens_before: int = 0
) -> list[tuple[int, float]]:
    """(tokens evaluated so far, H of the files so far), wherever H grew, and at the end.

    trials: (tokens spent, bytes, KLD on the full search text or None), in the order they ran.
    """
    tokens, volume = tokens_before, 0.0
    front: list[tuple[int, float]] = []
    curve = [(tokens, volume)]
    for spent, n_bytes, kld in trials:
        tokens += spent
        if kld is None or any(size <= n_bytes and known <= kld for size, known in front):
            continue
        front = [(size, known) for size, known in front if size < n_bytes or known < kld] + [(n_bytes, kld)]
        grown = hypervolume(front, reference)
        if grown > volume:
            volume = grown
            curve.append((tokens, volume))
    if tokens > curve[-1][0]:
        curve.append((tokens, volume))
    return curve


def _explain(larger: Verified, smaller: Verified) -> str:
    difference = compare(larger.by_chunk, smaller.by_chunk)
    more = 100 * (larger.mean_kld / smaller.mean_kld - 1) if smaller.mean_kld > 0 else math.inf
    sure = difference.chunks > 1 and difference.mean > SURE * difference.standard_error
    error = f"{difference.mean:.2e} ± {difference.standard_error:.2e} nats/token"
    return (
        f"on report text trial {larger.trial} of budget {larger.budget} loses {more:.1f} % more than trial "
        f"{smaller.trial} of budget {smaller.budget}, which is {larger.size_bytes - smaller.size_bytes:,} bytes "
        f"smaller, {'beyond' if sure else 'within'} the paired error ({error}); the smaller file is offered"
    )


def _figures(each: Verified) -> dict[str, Any]:
    return {
        "trial": each.trial,
        "size_bytes": each.size_bytes,
        "mean_kld": each.mean_kld,
        "mean_kld_standard_error": each.standard_error,
    }
