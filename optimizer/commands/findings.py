"""What a study found besides its table, in lines for people: honesty of its forecasts, wider spaces, its front."""

from collections.abc import Mapping, Sequence
from typing import Any


def honesty_line(honesty: Mapping[str, Any]) -> str:
    """How good the forecasts of the search's own trials were."""
    if honesty["spread"] is None:
        return f"forecasts: {honesty['pairs']} of the search's own trials are complete, too few to judge them"
    order = "" if honesty["spearman"] is None else f"rank correlation {honesty['spearman']:.2f}, "
    covered = honesty.get("covered")
    held = "" if covered is None else f", {100 * covered:.0f} % within two standard deviations"
    return (
        f"forecasts: {order}measured / predicted {honesty['median_ratio']:.2f} (median), spread "
        f"{100 * honesty['spread']:.1f} %{held}, over {honesty['pairs']} trials"
    )


def wider_line(hint: Mapping[str, Any]) -> str:
    """One change, with its error."""
    basis = "" if hint["error_from"] == "trials" else ", error assumed"
    return (
        f"{hint['change']}: {hint['expected_ratio']:.2f} x the KLD expected "
        f"({hint['low']:.2f} to {hint['high']:.2f}{basis})" + (f"; {hint['note']}" if hint.get("note") else "")
    )


def wider_lines(hints: Sequence[Mapping[str, Any]]) -> list[str]:
    """All changes, the one that promises most first."""
    ordered = sorted(hints, key=lambda hint: float(hint["expected_ratio"]))
    return (
        ["what more freedom would give, by forecast:", *(f"  {wider_line(hint)}" for hint in ordered)] if hints else []
    )


def best_hint(hints: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The change that promises most, of all budgets."""
    return min(hints, key=lambda hint: float(hint["expected_ratio"]), default=None)


def front_lines(front: Mapping[str, Any]) -> list[str]:
    """The points of several budgets, and where a larger one is no better."""
    lines = ["front on report text:"]
    for point in front["points"]:
        error = point["mean_kld_standard_error"]
        lines.append(
            f"  {point['budget']}: trial {point['trial']}, {point['size_bytes']:,} bytes, "
            f"KLD {point['mean_kld']:.6f} ± {error:.6f}" + (", not on the front" if point["why_not"] else "")
        )
        if point["why_not"]:
            lines.append(f"    {point['why_not']}")
    if front["hypervolume"] is not None:
        lines.append(
            f"  hypervolume {front['hypervolume']:.4g} bytes x nats of ln KLD, "
            f"on average {front['mean_log_reduction']:.3f} nats below the smallest file"
        )
    return lines
