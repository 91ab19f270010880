"""How results are printed: one JSON object, or a table for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
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
    columns: tuple[tuple[str, JustifyMethod], ...] = (
        ("preset", "left"),
        ("bytes", "right"),
        ("", "left"),
        ("bpw", "right"),
        ("", "left"),
    )
    for name, justify in columns:
        table.add_column(name, justify=justify)
    for name, n_bytes in sorted(preset_bytes.items(), key=lambda pair: -pair[1]):
        fits = budget_bytes is not None and n_bytes <= budget_bytes
        note = "needs an imatrix" if name in needs else "fits" if fits else ""
        table.add_row(name, f"{n_bytes:,}", show_bytes(n_bytes), f"{8 * n_bytes / n_elements:.3f}", note)
    return table


def report_table(report: Mapping[str, Any], model: Mapping[str, Any], reference_perplexity: float) -> Table:
    """Winner, reference and baselines on report text, largest first; dim: above the budget."""
    best = report["best"]
    winner = best["name"] or f"trial {best['trial']}"
    rows: list[tuple[int, str, Mapping[str, Any] | None]] = [
        (model["size_bytes"], "source", None),
        (best["size_bytes"], f"WINNER: {winner}", best),
        *((row["size_bytes"], row["name"], row) for row in report["baselines"]),
    ]
    table = Table(
        title=f"report text, budget {report['budget']} = {report['budget_bytes']:,} bytes",
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 1),
    )
    table.add_column("recipe", no_wrap=True, max_width=22)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("bpw", justify="right", no_wrap=True)
    table.add_column("KLD (nats/token)", no_wrap=True)
    table.add_column("PPL", no_wrap=True)
    for n_bytes, name, row in sorted(rows, key=lambda each: -each[0]):
        bits = f"{8 * n_bytes / model['parameters']:.3f}"
        if row is None:
            table.add_row(name, f"{n_bytes:,}", bits, "0", f"{reference_perplexity:.3f}")
            continue
        kld = f"{row['mean_kld']:.5f} ± {row['mean_kld_standard_error']:.5f}"
        perplexity = f"{row['perplexity']:.3f} ± {row['perplexity_standard_error']:.3f}"
        style = "bold green" if row is best else None if row["fits"] else "dim"
        table.add_row(escape(name), f"{n_bytes:,}", bits, kld, perplexity, style=style)
    return table
