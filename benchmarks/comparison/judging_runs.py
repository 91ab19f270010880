"""From the results of the jobs to figures: incumbents at checkpoints on report text, beside the presets."""

import json
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import BUDGETS, K_TYPES, WITH_IMATRIX
from benchmarks.comparison.judging import Judge, checkpoints, open_judge
from benchmarks.comparison.running import read_results

END = 10**12
"""Tokens that no run evaluates: its last incumbent."""
CHECKPOINTS = (80_000, 160_000, 240_000, 320_000, 480_000, 640_000, 960_000, 1_280_000, 1_600_000)
ALL_JUDGED = 4
"""Of runs with no more incumbents than this, each is judged where it came; of the others at the checkpoints."""


def judge_runs(folder: Path, chunks: int, curve_chunks: int, ctx_size: int, out: Path) -> None:
    """Every run's last incumbent on `chunks` of report text, those at the checkpoints on `curve_chunks` of them."""
    rows = [row for row in read_results(folder) if "error" not in row and row["incumbents"]]
    figures: dict[str, Any] = {
        "chunks": chunks,
        "curve_chunks": curve_chunks,
        "ctx_size": ctx_size,
        "presets": {},
        "runs": [],
    }
    plain = [row for row in rows if row["job"]["types"] != WITH_IMATRIX]
    with open_judge(folder, chunks, ctx_size) as judge:
        sizes = judge.plan.preset_bytes
        for point in judge.ladder():
            figures["presets"][point.name] = {"size_bytes": point.n_bytes, "kld": point.kld}
        for name in BUDGETS:
            figures.setdefault("interpolated", {})[name] = {
                "all": judge.preset_kld(sizes[name]),
                "K": judge.preset_kld(sizes[name], K_TYPES),
            }
        figures["runs"] += _judged(judge, plain, curve_chunks)
    others = [row for row in rows if row["job"]["types"] == WITH_IMATRIX]
    if others:
        with open_judge(folder, chunks, ctx_size, with_imatrix_types=True) as judge:
            for name in BUDGETS:
                figures["interpolated"][name][WITH_IMATRIX] = judge.preset_kld(sizes[name])
            figures["runs"] += _judged(judge, others, curve_chunks)
    out.write_text(json.dumps(figures) + "\n", encoding="utf-8")


def _judged(judge: Judge, rows: list[dict[str, Any]], curve_chunks: int) -> list[dict[str, Any]]:
    runs = []
    for number, row in enumerate(rows, start=1):
        incumbents = row["incumbents"]
        limits = [limit for limit in CHECKPOINTS if limit <= row["job"]["tokens"]]
        limits += [each["tokens"] for each in incumbents] if len(incumbents) <= ALL_JUDGED else []
        found = checkpoints(incumbents, (*sorted(set(limits)), END))
        last = incumbents[-1]
        curve = {at: judge.by_chunk(each["tensor_types"], curve_chunks) for at, each in found.items()}
        by_chunk = judge.by_chunk(last["tensor_types"])
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
                "report": [[at, sum(values) / len(values)] for at, values in curve.items() if at < END],
                "curve_end": sum(curve[END]) / len(curve[END]),
                "report_by_chunk": [round(value, 9) for value in by_chunk],
                "report_kld": sum(by_chunk) / judge.chunks,
            }
        )
        print(f"judged {number}/{len(rows)}", flush=True)
    return runs
