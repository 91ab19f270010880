"""From the results of the jobs to figures: incumbents at checkpoints on report text, beside the presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.comparison.jobs import (
    BUDGETS,
    JUDGED_AT_THEIR_END,
    K_TYPES,
    ONE_SHOTS,
    OPTIMUM,
    OURS,
    RIVALS_LONGEST,
    WITH_IMATRIX,
)
from benchmarks.comparison.judging import Judge, checkpoints, open_judge
from benchmarks.comparison.running import read_results

END = 10**12
"""Tokens that no run evaluates: its last incumbent."""
CHECKPOINTS = (
    80_000, 160_000, 240_000, 320_000, 480_000, 640_000, 960_000, 1_280_000, 1_600_000, 2_880_000, 5_760_000, 11_520_000
)  # fmt: skip
ALL_JUDGED = 4
"""Of runs with no more incumbents than this, each is judged where it came; of the others at the checkpoints."""


@dataclass(frozen=True)
class JudgedChunks:
    """Of report text, the first ones. `winner`: of ours and one-shot methods; those at the checkpoints too.

    `rival`: of samplers that begin without probes, which are far behind; with an importance matrix they are few, and
    judged like ours. `curve`: what led before, for the picture.
    """

    winner: int
    rival: int
    curve: int

    def of(self, job: dict[str, Any]) -> int:
        close = job["sampler"] in (OURS, *ONE_SHOTS) or job["types"] == WITH_IMATRIX or job["group"] == RIVALS_LONGEST
        return self.winner if close else self.rival


def judge_runs(folder: Path, chunks: JudgedChunks, ctx_size: int, *, with_presets: bool = True) -> dict[str, Any]:
    """Every run's last incumbent, and those at the checkpoints, on report text. with_presets: these as well."""
    rows = [row for row in read_results(folder) if "error" not in row and row["incumbents"]]
    figures: dict[str, Any] = {
        "chunks": chunks.winner,
        "rival_chunks": chunks.rival,
        "curve_chunks": chunks.curve,
        "ctx_size": ctx_size,
        "runs": [],
    }
    plain = [row for row in rows if row["job"]["types"] != WITH_IMATRIX]
    others = [row for row in rows if row["job"]["types"] == WITH_IMATRIX]
    with open_judge(folder, chunks.winner, ctx_size) as judge:
        figures["tensors"] = sorted(judge.plan.parameters)
        sizes = judge.plan.preset_bytes
        if with_presets:
            points = judge.ladder()
            figures["presets"] = {point.name: {"size_bytes": point.n_bytes, "kld": point.kld} for point in points}
            figures["interpolated"] = {
                name: {"all": judge.preset_kld(sizes[name]), "K": judge.preset_kld(sizes[name], K_TYPES)}
                for name in BUDGETS
            }
        figures["runs"] += _judged(judge, plain, chunks)
    if others:
        with open_judge(folder, chunks.winner, ctx_size, with_imatrix_types=True) as judge:
            if with_presets:
                for name in BUDGETS:
                    figures["interpolated"][name][WITH_IMATRIX] = judge.preset_kld(sizes[name])
            figures["runs"] += _judged(judge, others, chunks)
    return figures


def updated(kept: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The kept figures with the new runs in place of the same jobs' earlier ones.

    Earlier ones of ours whose types are kept stay among the best known, but for recipes that are there anew. Raises
    ValueError where both were not judged alike.
    """
    for key in ("chunks", "rival_chunks", "curve_chunks", "ctx_size", "tensors"):
        if kept[key] != new[key]:
            raise ValueError(f"{key} is {new[key]}, and of the figures to keep {kept[key]}")
    jobs = [run["job"] for run in new["runs"]]
    recipes = [run.get("tensor_types") for run in new["runs"]]
    runs = []
    for run in kept["runs"]:
        if run["job"] not in jobs:
            runs.append(run)
        elif run["job"]["sampler"] == OURS and "tensor_types" in run and run["tensor_types"] not in recipes:
            runs.append({**run, "job": {**run["job"], "group": OPTIMUM}})
    return {**kept, "runs": [*runs, *new["runs"]]}


def _judged_at(row: dict[str, Any]) -> list[int]:
    """Evaluated tokens; none for long searches of ours, where the end alone counts."""
    incumbents = row["incumbents"]
    if row["job"]["group"] in JUDGED_AT_THEIR_END:
        return []
    limits = {limit for limit in CHECKPOINTS if limit <= row["job"]["tokens"]}
    return sorted(limits | ({each["tokens"] for each in incumbents} if len(incumbents) <= ALL_JUDGED else set()))


def _judged(judge: Judge, rows: list[dict[str, Any]], chunks: JudgedChunks) -> list[dict[str, Any]]:
    runs = []
    for number, row in enumerate(rows, start=1):
        own_chunks = chunks.of(row["job"])
        incumbents = row["incumbents"]
        found = checkpoints(incumbents, (*_judged_at(row), END))
        last = incumbents[-1]
        seen = own_chunks if own_chunks == chunks.winner else chunks.curve
        curve = {at: judge.by_chunk(each["tensor_types"], seen) for at, each in found.items()}
        by_chunk = judge.by_chunk(last["tensor_types"], own_chunks)
        runs.append(
            {
                "job": row["job"],
                "budget_bytes": row["budget_bytes"],
                "size_bytes": last["size_bytes"],
                "probe_tokens": row["probe_tokens"],
                "tokens": row["tokens"],
                "trials": row["trials"],
                "leftover": row.get("leftover"),
                "search": [[each["tokens"], each["search_kld"]] for each in incumbents],
                "report": [[at, fmean(values[: chunks.curve])] for at, values in curve.items() if at < END],
                "arrivals": [[at, fmean(values)] for at, values in curve.items() if at < END],
                "arrivals_chunks": seen,
                "tensor_types": [last["tensor_types"][name] for name in sorted(judge.plan.parameters)],
                "report_by_chunk": [float(f"{value:.4g}") for value in by_chunk],
                "report_kld": fmean(by_chunk),
            }
        )
        print(f"judged {number}/{len(rows)}", flush=True)
    return runs
