"""The tables of docs/scaling.md."""

from collections.abc import Sequence
from typing import Any

Row = Sequence[object]


def disk(figures: Any) -> str:
    """Bytes that each model needs."""
    rows = [
        (
            each["title"],
            _gigabytes(each["source_bytes"]),
            _gigabytes(each["candidate_bytes"]),
            _gigabytes(each["bank_bytes"]),
            _gigabytes(each["reference_bytes"]),
        )
        for each in figures["models"]
    ]
    return _table(("model", "source", "winner at IQ4_XS bytes", "bank, all shards", "reference logits"), rows)


def time(figures: Any) -> str:
    """Hours of a search, without what quantizing takes beside it."""
    machines = list(figures["models"][0]["hours"])
    rows = [
        (each["title"], *(_hours(sum(each["hours"][machine].values())) for machine in machines))
        for each in figures["models"]
    ]
    return _table(("model", *machines), rows)


def parts(figures: Any) -> str:
    """Where the hours go on one GPU."""
    name = "RTX 4090, 24 GiB"
    kinds = list(figures["models"][0]["hours"][name])
    rows = [(each["title"], *(_hours(each["hours"][name][kind]) for kind in kinds)) for each in figures["models"]]
    return _table((name, *kinds), rows)


def checked(figures: Any) -> str:
    """Forecast and measurement of the demo search."""
    rows = []
    for name, unit, scale in (
        ("tokens", "thousand tokens of candidates", 1e3),
        ("reference_bytes", "MB of reference logits", 1e6),
        ("bank_bytes", "MB of shards", 1e6),
        ("seconds", "seconds", 1.0),
    ):
        if name not in figures["check"]:
            continue
        forecast, measured = figures["check"][name]
        rows.append((unit, f"{forecast / scale:,.0f}", f"{measured / scale:,.0f}", f"{forecast / measured:.2f}"))
    return _table(("the demo search", "by the formulas", "measured", "ratio"), rows)


def _gigabytes(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes < 1e11 else f"{n_bytes / 1e9:,.0f} GB"


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours < 10 else f"{hours:,.0f} h"


def _table(heads: Sequence[str], rows: Sequence[Row]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


TABLES = (disk, time, parts, checked)
