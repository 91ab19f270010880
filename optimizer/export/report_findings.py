"""What a report says besides its tables, as frozen values: its forecasts' honesty, wider spaces, the front.

All of it may be missing in reports of older versions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Forecasts:
    """`trials`: (trial, predicted KLD, measured KLD) on search text, of the search's own complete trials."""

    pairs: int
    spearman: float | None
    median_ratio: float | None
    spread: float | None
    trials: tuple[tuple[int, float, float], ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "Forecasts | None":
        if not document:
            return None
        trials = tuple(
            (int(each["trial"]), float(each["predicted_kld"]), float(each["mean_kld"]))
            for each in document.get("trials") or ()
        )
        return cls(document["pairs"], document["spearman"], document["median_ratio"], document["spread"], trials)


@dataclass(frozen=True, slots=True)
class Wider:
    """A change of the space, and the KLD expected with it over that without it; ends are one standard error away."""

    change: str
    expected_ratio: float
    low: float
    high: float
    assumed: bool
    """The error is not from this study's trials."""
    note: str

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Wider":
        ratio, low, high = (float(document[key]) for key in ("expected_ratio", "low", "high"))
        return cls(
            str(document["change"]),
            ratio,
            low,
            high,
            document.get("error_from") != "trials",
            str(document.get("note") or ""),
        )


@dataclass(frozen=True, slots=True)
class FrontRow:
    """One budget's winner on report text; `why_not`: why it is not on the front."""

    budget: str
    trial: int
    size_bytes: int
    mean_kld: float
    mean_kld_standard_error: float | None
    why_not: str | None


@dataclass(frozen=True, slots=True)
class ParetoFront:
    """`over_tokens`: (tokens evaluated, hypervolume on search text) wherever it grew."""

    points: tuple[FrontRow, ...]
    hypervolume: float | None
    mean_log_reduction: float | None
    over_tokens: tuple[tuple[int, float], ...]

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "ParetoFront | None":
        if not document:
            return None
        points = tuple(
            FrontRow(
                budget=str(each["budget"]),
                trial=int(each["trial"]),
                size_bytes=int(each["size_bytes"]),
                mean_kld=float(each["mean_kld"]),
                mean_kld_standard_error=each.get("mean_kld_standard_error"),
                why_not=each.get("why_not"),
            )
            for each in document["points"]
        )
        curve = document.get("search_hypervolume_over_tokens") or ()
        over_tokens = tuple((int(each["tokens"]), float(each["hypervolume"])) for each in curve)
        return cls(points, document.get("hypervolume"), document.get("mean_log_reduction"), over_tokens)
