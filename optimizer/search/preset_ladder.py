"""The stock presets around a winner on report text: those that fit, and as many above as an interpolation needs.

Two ladders are climbed: of all K- and IQ-presets that can be made, and of those whose every type the search may use.
The next preset above a budget may lose more than a smaller one; then it brackets nothing, and the one after it is
measured too, until one loses less than everything below it or MAX_ABOVE were measured.
"""

from collections.abc import Callable, Collection, Sequence

from optimizer.search.baselines import PRESET, is_ladder_preset, rival_presets
from optimizer.search.budget import Budget
from optimizer.search.interpolation import LadderPoint, preset_kld_at
from optimizer.search.measuring import Measurement
from optimizer.search.planning import Plan
from optimizer.search.report_rows import ReportItem

MAX_ABOVE = 3
Measured = tuple[ReportItem, Measurement]


def is_allowed(item: ReportItem, tensor_types: Collection[str]) -> bool:
    """Every type of it may be used by the search."""
    return set(item.recipe.tensor_types.values()) <= set(tensor_types)


def presets_above(plan: Plan, budget: Budget) -> tuple[list[ReportItem], list[ReportItem]]:
    """The next ladder presets above the budget, small first: of all, and of those the search may use."""
    above = sorted(
        (
            ReportItem(name, PRESET, recipe, plan.preset_bytes[name])
            for name, recipe in rival_presets(plan.presets, plan.imatrix).items()
            if is_ladder_preset(name) and plan.preset_bytes[name] > budget.n_bytes
        ),
        key=lambda item: (item.n_bytes, item.name),
    )
    return above[:MAX_ABOVE], [item for item in above if is_allowed(item, plan.tensor_types)][:MAX_ABOVE]


def climb(above: Sequence[ReportItem], below: float, measure: Callable[[ReportItem], float | None]) -> None:
    """Measure one preset after another until one loses less than `below`, the least KLD of the smaller ones.

    measure: mean KLD in nats per token, None where it failed.
    """
    for item in above:
        kld = measure(item)
        if kld is not None and kld < below:
            return


def least_kld(measured: Sequence[Measured], tensor_types: Collection[str] | None = None) -> float:
    """Of the ladder presets measured (of those types alone, where given); infinite where there is none."""
    return min((point.kld for point in _points(measured, tensor_types)), default=float("inf"))


def interpolated(plan: Plan, measured: Sequence[Measured], n_bytes: int) -> dict[str, float | bool | None]:
    """What stock presets would lose at `n_bytes`, as the report shows it."""
    everything = preset_kld_at(_points(measured, None), n_bytes)
    only_allowed = preset_kld_at(_points(measured, plan.tensor_types), n_bytes)
    return {
        "interpolated_preset_kld": everything.kld if everything else None,
        "interpolated_allowed_preset_kld": only_allowed.kld if only_allowed else None,
        "extrapolated": bool(everything is None or everything.extrapolated),
        "extrapolated_allowed": bool(only_allowed is None or only_allowed.extrapolated),
    }


def _points(measured: Sequence[Measured], tensor_types: Collection[str] | None) -> list[LadderPoint]:
    return [
        LadderPoint(item.name, item.n_bytes, measurement.score.mean_kld)
        for item, measurement in measured
        if item.kind == PRESET
        and is_ladder_preset(item.name)
        and (tensor_types is None or is_allowed(item, tensor_types))
    ]
