"""Trials as a table for people, from the objects of `trials --json`: here or from a service it looks the same."""

from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.commands.long_table import Column, Row, print_long_table
from optimizer.commands.shown import out

COLUMNS = (
    Column("trial", right=True),
    Column("state"),
    Column("recipe", wraps=True),
    Column("bytes", right=True),
    Column("KLD (nats/token)", wraps=True),
    Column("PPL", right=True),
    Column("chunks", right=True),
    Column("predicted", right=True),
    Column("tokens", right=True),
)


def show_trials(trials: Sequence[Mapping[str, Any]], best: int | None, tokens_evaluated: int) -> None:
    """trials: of `trials --json`; best: the number of the one in green; tokens_evaluated: by the whole study."""
    asked = any(trial["prompts_solved"] is not None for trial in trials)
    rows = []
    for trial in trials:
        style = "bold green" if trial["number"] == best else "dim" if trial["state"] != "complete" else None
        rows.append(Row((*_cells(trial), *([_solved(trial)] if asked else [])), style))
    print_long_table(out(), (*COLUMNS, *([Column("solved", right=True)] if asked else [])), rows)
    spent = sum(trial["tokens_spent"] for trial in trials)
    out().print(f"tokens evaluated: {spent:,} by these trials, {tokens_evaluated:,} by the study")


def _cells(trial: Mapping[str, Any]) -> tuple[str, ...]:
    kld, error = trial["mean_kld"], trial["mean_kld_standard_error"] or 0
    estimate = trial.get("full_text_estimate")  # a service of an earlier version gives none
    shown = (trial["error"] or "") if kld is None else f"{kld:.6f} ± {error:.6f}"
    return (
        str(trial["number"]),
        trial["state"] if trial["kept_out"] is None else "kept out",
        trial["name"] or trial["origin"],
        f"{trial['size_bytes']:,}",
        shown if estimate is None else f"~{estimate:.6f}",
        f"{trial['perplexity']:.4f}" if trial["perplexity"] else "",
        str(trial["chunks_scored"]),
        "" if trial["predicted_kld"] is None else f"{trial['predicted_kld']:.6f}",
        f"{trial['tokens_spent']:,}",
    )


def _solved(trial: Mapping[str, Any]) -> str:
    return "" if trial["prompts_solved"] is None else f"{trial['prompts_solved']} of {trial['prompts_total']}"
