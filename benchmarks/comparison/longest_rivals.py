"""The rivals with five times the tokens of ours: how near they come to the best known, and after how many."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.comparison.jobs import OURS, OURS_LONGEST, RIVALS_LONGEST
from benchmarks.comparison.known import inside, of, rows

AFTER = (320_000, 1_600_000, 2_880_000, 5_760_000, 11_520_000)
"""Evaluated tokens, of those that `judging_runs.CHECKPOINTS` are."""


def rivals_with_more_tokens(figures: Mapping[str, Any]) -> str:
    """KLD on report text over the least known there, as tokens were spent; ours, mean of seeds, at its end."""
    runs = of(figures["runs"], group=RIVALS_LONGEST)
    body = []
    cells = dict.fromkeys((run["job"]["units"], run["job"]["types"], run["job"]["budget"]) for run in runs)
    for units, types, budget in cells:
        cell = {"units": units, "types": types, "budget": budget}
        least = min(
            run["report_kld"]
            for run in inside(figures["runs"], units, types, budget)
            if len(run["report_by_chunk"]) == figures["chunks"]
        )
        ours = of(figures["runs"], sampler=OURS, group=OURS_LONGEST, **cell)
        lines = []
        for tokens in sorted({run["job"]["tokens"] for run in ours}):
            mine = of(ours, tokens=tokens)
            lines.append((f"`{OURS}`", {tokens: _mean(mine) / least}, _tokens(mine), _mean(mine) / least))
        for run in of(runs, **cell):
            course = {tokens: kld / least for tokens, kld in run["arrivals"]}
            lines.append((f"`{run['job']['sampler']}`", course, run["tokens"], run["report_kld"] / least))
        for name, course, tokens, end in sorted(lines, key=lambda line: line[3]):
            seen = [f"{course[after]:.2f}" if after in course else "" for after in AFTER]
            body.append([f"{units}, {types}, {budget}", name, *seen, f"{end:.2f} after {tokens:,.0f}"])
    return rows(["space", "sampler", *(f"{after:,}" for after in AFTER), "at its end"], body)


def _mean(runs: list[Mapping[str, Any]]) -> float:
    return fmean(run["report_kld"] for run in runs)


def _tokens(runs: list[Mapping[str, Any]]) -> float:
    return fmean(run["tokens"] for run in runs)
