"""How results are printed: one JSON object, or a table for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from optimizer.search.budget import show_bytes


def print_json(value: Any) -> None:
    """One object on standard output, and nothing else there."""
    json.dump(value, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def out() -> Console:
    return Console(highlight=False)


def err() -> Console:
    return Console(stderr=True, highlight=False)


def preset_table(
    preset_bytes: Mapping[str, int], n_elements: int, budget_bytes: int | None, needs: Sequence[str]
) -> Table:
    """Presets from large to small, with a mark for those that fit."""
    table = Table(title="stock presets for this model", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("preset", "left"), ("bytes", "right"), ("", "left"), ("bpw", "right"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name, n_bytes in sorted(preset_bytes.items(), key=lambda pair: -pair[1]):
        fits = budget_bytes is not None and n_bytes <= budget_bytes
        note = "needs an imatrix" if name in needs else "fits" if fits else ""
        table.add_row(name, f"{n_bytes:,}", show_bytes(n_bytes), f"{8 * n_bytes / n_elements:.3f}", note)
    return table


def report_table(report: Mapping[str, Any], model: Mapping[str, Any], reference_perplexity: float) -> Table:
    """Winner, reference and baselines around it, on report text; largest first."""
    best = report["best"]
    winner = best["name"] or f"trial {best['trial']} ({best['origin']})"
    rows: list[tuple[int, str, str, Mapping[str, Any] | None]] = [
        (model["size_bytes"], "reference", "source", None),
        (best["size_bytes"], f"winner: {winner}", "", best),
        *((row["size_bytes"], row["name"], row["kind"], row) for row in report["baselines"]),
    ]
    table = Table(
        title=f"report text, budget {report['budget']} = {report['budget_bytes']:,} bytes",
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for name, justify in (
        ("recipe", "left"), ("kind", "left"), ("bytes", "right"), ("bpw", "right"),
        ("KLD (nats/token)", "left"), ("PPL", "left"), ("fits", "left"),
    ):  # fmt: skip
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for n_bytes, name, kind, row in sorted(rows, key=lambda each: -each[0]):
        bits = f"{8 * n_bytes / model['parameters']:.3f}"
        if row is None:
            table.add_row(name, kind, f"{n_bytes:,}", bits, "0", f"{reference_perplexity:.4f}", "")
            continue
        kld = f"{row['mean_kld']:.6f} ± {row['mean_kld_standard_error']:.6f}"
        perplexity = f"{row['perplexity']:.4f} ± {row['perplexity_standard_error']:.4f}"
        fits = "yes" if row.get("fits", True) else "no"
        style = "bold green" if row is best else None
        table.add_row(name, kind, f"{n_bytes:,}", bits, kld, perplexity, fits, style=style)
    return table
