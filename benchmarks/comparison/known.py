"""Which of the judged runs a table is about, and how a table is written."""

from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from statistics import stdev
from typing import Any

Run = Mapping[str, Any]


def of(runs: Iterable[Run], **wanted: Any) -> list[Run]:
    """Those whose job has all of this."""
    return [run for run in runs if all(run["job"][key] == value for key, value in wanted.items())]


def inside(runs: Sequence[Run], units: str, types: str, budget: str) -> list[Run]:
    """Of all runs those whose recipe this space has: tensors can have what groups found, IQ types what K-quants did."""
    all_units = (units, "groups") if units == "tensors" else (units,)
    all_types = (types, "K") if types == "K+IQ" else (types,)
    return [run for a in all_units for b in all_types for run in of(runs, units=a, types=b, budget=budget)]


def paired_error(ours: Sequence[float], others: Sequence[float]) -> float:
    """Standard error of the mean difference of two recipes over the same chunks."""
    differences = [a - b for a, b in zip(ours, others, strict=True)]
    return float(stdev(differences)) / sqrt(len(differences))


def rows(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
