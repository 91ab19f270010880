"""The rivals with five times the tokens of ours: how near they come to the best known, and after how many."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from benchmarks.comparison.fresh_text import known
from benchmarks.comparison.jobs import OURS, OURS_LONGEST, RIVALS_LONGEST
from benchmarks.comparison.judging_runs import CHECKPOINTS
from benchmarks.comparison.known import of, rows

AFTER = [tokens for tokens in CHECKPOINTS if tokens in (320_000, 1_600_000) or tokens >= 2_880_000]
"""Evaluated tokens."""


def rivals_with_more_tokens(figures: Mapping[str, Any]) -> str:
    """KLD on report text over the least known there, as tokens were spent; ours, mean of seeds, at its end."""
    runs = of(figures["runs"], group=RIVALS_LONGEST)
    body = []
    cells = dict.fromkeys((run["job"]["units"], run["job"]["types"], run["job"]["budget"]) for run in runs)
    for units, types, budget in cells:
        cell = {"units": units, "types": types, "budget": budget}
        least = known(figures, (units, types, budget))[0]["report_kld"]
        ours = of(figures["runs"], sampler=OURS, group=OURS_LONGEST, **cell)
        lines = []
        for tokens in sorted({run["job"]["tokens"] for run in ours}):
            mine = of(ours, tokens=tokens)
            end = fmean(run["report_kld"] for run in mine) / least
            lines.append((f"`{OURS}`", {tokens: end}, fmean(run["tokens"] for run in mine), end))
        for run in of(runs, **cell):
            course = {tokens: kld / least for tokens, kld in run["arrivals"]}
            lines.append((f"`{run['job']['sampler']}`", course, run["tokens"], run["report_kld"] / least))
        for name, course, tokens, end in sorted(lines, key=lambda line: line[3]):
            seen = [f"{course[after]:.2f}" if after in course else "" for after in AFTER]
            body.append([f"{units}, {types}, {budget}", name, *seen, f"{end:.2f} after {tokens:,.0f}"])
    return rows(["space", "sampler", *(f"{after:,}" for after in AFTER), "at its end"], body)
