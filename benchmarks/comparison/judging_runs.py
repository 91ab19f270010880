"""From the results of the jobs to figures: incumbents at checkpoints on report text, beside the presets."""

import json
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import BUDGETS, K_TYPES
from benchmarks.comparison.judging import checkpoints, open_judge
from benchmarks.comparison.running import read_results

CHECKPOINTS = (80_000, 160_000, 240_000, 320_000, 480_000, 640_000, 960_000, 1_280_000, 1_600_000)


def judge_runs(folder: Path, chunks: int, ctx_size: int, out: Path) -> None:
    """Every run's incumbents at the checkpoints, and its last, on the same chunks of report text."""
    rows = [row for row in read_results(folder) if "error" not in row and row["incumbents"]]
    figures: dict[str, Any] = {"chunks": chunks, "ctx_size": ctx_size, "presets": {}, "runs": []}
    with open_judge(folder, chunks, ctx_size) as judge:
        sizes = judge.plan.preset_bytes
        for point in judge.ladder():
            figures["presets"][point.name] = {"size_bytes": point.n_bytes, "kld": point.kld}
        for name in BUDGETS:
            figures.setdefault("interpolated", {})[name] = {
                "all": judge.preset_kld(sizes[name]),
                "K": judge.preset_kld(sizes[name], K_TYPES),
            }
        for number, row in enumerate(rows, start=1):
            found = checkpoints(row["incumbents"], (*[c for c in CHECKPOINTS if c <= row["job"]["tokens"]], 10**12))
            judged = [
                {"tokens": limit, "by_chunk": judge.by_chunk(incumbent["tensor_types"])}
                for limit, incumbent in found.items()
            ]
            last = row["incumbents"][-1]
            figures["runs"].append(
                {
                    "job": row["job"],
                    "budget_bytes": row["budget_bytes"],
                    "size_bytes": last["size_bytes"],
                    "probe_tokens": row["probe_tokens"],
                    "tokens": row["tokens"],
                    "trials": row["trials"],
                    "search": [[each["tokens"], each["search_kld"]] for each in row["incumbents"]],
                    "report": [[each["tokens"], sum(each["by_chunk"]) / chunks] for each in judged[:-1]],
                    "report_by_chunk": [round(value, 9) for value in judged[-1]["by_chunk"]],
                    "report_kld": sum(judged[-1]["by_chunk"]) / chunks,
                }
            )
            print(f"judged {number}/{len(rows)}", flush=True)
    out.write_text(json.dumps(figures) + "\n", encoding="utf-8")
