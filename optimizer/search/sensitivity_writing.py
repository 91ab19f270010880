"""Sensitivities written to files, in either form that `sensitivity_table` reads."""

import csv
import io
import re
from collections.abc import Iterable, Mapping

from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.search.sensitivity_table import WHOLE_MODEL
from optimizer.search.units import group_tensors

COLUMNS = ("unit", "tensor_type", "kld", "standard_error", "base", "source")


def own_table(rows: Iterable[Mapping[str, object]]) -> str:
    """Our form: one row a probe, with the columns of `COLUMNS`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: row[column] for column in COLUMNS} for row in rows)
    return text.getvalue()


def tool_suite_curve(curve: Mapping[str, float]) -> str:
    """Their `group0` form of whole models: type -> KLD, few bits first."""
    rows = sorted(curve.items(), key=lambda row: type_of(row[0]).bits_per_weight)
    return "".join(
        [f"QTYPE,{WHOLE_MODEL}\n", *(f"{type_of(tensor_type).ggml_name},{kld:.9f}\n" for tensor_type, kld in rows)]
    )


def tool_suite_table(rows: Mapping[str, Mapping[str, float]], tensors: Iterable[str]) -> str:
    """Their form of group sensitivities: type -> group -> KLD, each in every column of the group's tensors."""
    group_of = {tensor: group for group, members in group_tensors(tensors, "groups").items() for tensor in members}
    columns = {tensor: group_of[tensor] for tensor in sorted(group_of, key=_as_versions_sort)}
    lines = [",".join(["QTYPE", *columns])]
    for tensor_type, row in rows.items():
        cells = [f"{row[group]:.9f}" if group in row else "404" for group in columns.values()]
        lines.append(",".join([type_of(tensor_type).ggml_name, *cells]))
    return "\n".join(lines) + "\n"


def _as_versions_sort(name: str) -> list[tuple[int, str]]:
    """blk.2 before blk.10, as `sort -V` orders their columns."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
