"""How results are printed: one JSON object, or a table for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from optimizer.commands.findings import front_lines, honesty_line, wider_lines
from optimizer.export.report_prompt_front import prompt_front_lines, prompt_front_rows
from optimizer.export.report_prompts import PromptReport
from optimizer.search.budget import show_bytes

PIPE_WIDTH = 120


def print_json(value: Any) -> None:
    """One object on standard output, and nothing else there."""
    json.dump(value, sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def out() -> Console:
    """Wide enough for every table where nobody looks at a terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


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


def show_report(report: Mapping[str, Any]) -> None:
    """Tables for people, one a budget with its winner's LAYER_TYPES, and what is said of the whole study."""
    console = out()
    for each in report.get("fronts") or [report]:
        best = each["best"]
        console.print(report_table(each, report["model"], report["reference_perplexity"]))
        console.print(f"[bold]{escape(each['verdict'])}[/bold]")
        for line in _budget_lines(each):
            console.print(escape(line), soft_wrap=True)
        console.print()
        if best["flags"]:
            print(f'FLAGS="{best["flags"]}"')
        print(f"LAYER_TYPES='{best['layer_types']}'")
        console.print()
    for line in _study_lines(report):
        console.print(escape(line), soft_wrap=True)
    console.print(
        f"export it: layerquant export {report['study']} --as layer-types|tensor-type-file|command|gguf|folder|card"
    )


def _budget_lines(each: Mapping[str, Any]) -> list[str]:
    ratios = [
        f"{each['best']['mean_kld'] / each[key]:.3f} x the KLD of {label} interpolated at these bytes"
        for key, label in (
            ("interpolated_preset_kld", "stock presets"),
            ("interpolated_allowed_preset_kld", "presets of the allowed types"),
        )
        if each[key]
    ]
    lines = ["; ".join(ratios)] if ratios else []
    if "leftover_bytes" in each:
        proof = (each.get("leftover") or {}).get("text")
        lines.append(
            f"{each['leftover_bytes']:,} bytes of the budget are left ({100 * each['leftover_share']:.3f} %)"
            + (f": {proof}" if proof else "")
        )
    if each.get("pruning"):
        lines.append(each["pruning"]["text"])
    prompts = PromptReport.from_json(each.get("prompts"))
    front = prompt_front_lines(prompt_front_rows(each.get("prompt_front")))
    return [*lines, *(prompts.lines() if prompts else []), *front, *wider_lines(each.get("wider", ()))]


def _study_lines(report: Mapping[str, Any]) -> list[str]:
    lines = front_lines(report["front"]) if report.get("front") else []
    if report.get("honesty"):
        lines.append(honesty_line(report["honesty"]))
    lines.append(f"noise floor (the reference against itself): {report['noise_floor_kld']:.2e} nats/token")
    if report.get("tokens_evaluated"):
        before = report.get("tokens_before_trials")
        lines.append(
            f"tokens evaluated: {report['tokens_evaluated']:,}"
            + (f", of which {before:,} before the first trial" if before is not None else "")
        )
    return lines


def show_checks(checks: Sequence[Mapping[str, Any]]) -> None:
    """checks: of `doctor --json`."""
    console = out()
    colours = {"ok": "green", "warn": "yellow", "fail": "red"}
    for check in checks:
        state, name, found = check["state"], check["name"], escape(check["found"])
        console.print(f"[{colours[state]}]{state:<5}[/] {name:<16} {found}", soft_wrap=True)
        if check["advice"]:
            console.print(f"{'':<23}{escape(check['advice'])}", soft_wrap=True)
