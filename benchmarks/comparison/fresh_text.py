"""Judge those that may be the best on report text that nobody was chosen on, and on more of it.

On the chunks that all runs are judged on two good recipes differ by an error of 2 to 4 %, and who is the best known
there was lucky there. So the winners of the longest searches and the best known are measured once more, on chunks that
follow in the series. These are drawn in proportion to a pilot's damage, as a search draws its own (`draw_chunks`).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.comparison.jobs import BUDGETS, OURS_LONGEST
from benchmarks.comparison.judging import open_judge
from benchmarks.comparison.known import inside, of, paired_error, rows
from optimizer.recipes.recipe import Recipe
from optimizer.search.draw import draw_chunks
from optimizer.search.probing import pilot_of, plan_probing

DOCUMENTS = 9000
"""Some 5,970 chunks of 256 tokens."""
KNOWN = 4
"""The best of a space and budget that are measured, beside the winners of the longest searches."""

Figures = Mapping[str, Any]
Cell = tuple[str, str, str]
"""Units, types, budget."""


def winners(figures: Figures, cell: Cell) -> list[Mapping[str, Any]]:
    """Of the longest searches, by seed: those with the most tokens."""
    units, types, budget = cell
    runs = of(figures["runs"], units=units, types=types, budget=budget, group=OURS_LONGEST)
    most = max((run["job"]["tokens"] for run in runs), default=0)
    return sorted(of(runs, tokens=most), key=lambda run: int(run["job"]["seed"]))


def known(figures: Figures, cell: Cell) -> list[Mapping[str, Any]]:
    """The best of the space on the first chunks, the best one first; each recipe once."""
    runs = [run for run in inside(figures["runs"], *cell) if len(run["report_by_chunk"]) == figures["chunks"]]
    best = sorted(runs, key=lambda run: float(run["report_kld"]))
    return list({key_of(run): run for run in reversed(best)}.values())[::-1][:KNOWN]


def cells(figures: Figures) -> Iterator[Cell]:
    """Those that have longest searches."""
    found = dict.fromkeys((run["job"]["units"], run["job"]["types"]) for run in figures["runs"])
    for units, types in found:
        for budget in BUDGETS:
            if winners(figures, (units, types, budget)):
                yield units, types, budget


def key_of(run: Mapping[str, Any]) -> str:
    """The recipe, in the order of the figures' `tensors`."""
    return " ".join(run["tensor_types"])


def judge_fresh(figures: Figures, folder: Path, pool: int, drawn: int) -> dict[str, Any]:
    """What `on_fresh_text` shows: KLD in nats per token on `drawn` of the `pool` chunks after those of the winners."""
    contenders = dict.fromkeys(
        key_of(run) for cell in cells(figures) for run in (*winners(figures, cell), *known(figures, cell))
    )
    after = figures["chunks"]
    with open_judge(folder, after + pool, figures["ctx_size"], documents=DOCUMENTS) as judge:
        pilot = pilot_of(plan_probing(judge.plan))
        if pilot is None or judge.chunks < after + pool:
            raise ValueError(f"{judge.chunks} chunks, and {after + pool} are wanted, with a pilot to draw them by")
        fresh = list(range(after, after + pool))
        draw = draw_chunks(judge.measurer.measure_chunks(pilot.recipe, fresh).score.chunks, drawn)
        factors = dict(zip(draw.order, draw.factors, strict=True))
        scores = {}
        for number, key in enumerate(contenders, start=1):
            recipe = Recipe(dict(zip(figures["tensors"], key.split(), strict=True)))
            measured = judge.measurer.measure_chunks(recipe, draw.chunks).by_chunk
            scores[key] = [float(f"{measured[chunk]:.4g}") for chunk in draw.chunks]
            print(f"judged {number}/{len(contenders)}", flush=True)
    counts = [float(f"{factors[chunk]:.6g}") for chunk in draw.chunks]
    return {"pool": pool, "chunks": draw.chunks, "factors": counts, "by_recipe": scores}


def on_fresh_text(figures: Figures) -> str:
    """Ours, seed by seed, over the best known of the space: chosen on the first chunks and compared on fresh ones; then
    chosen and compared on both. Says where that is still to be measured.
    """
    fresh = figures.get("fresh", {"by_recipe": {}})
    found = list(cells(figures))
    body = []
    for units, types in dict.fromkeys((units, types) for units, types, _ in found):
        row = []
        for budget in BUDGETS:
            cell = (units, types, budget)
            row.append(_compared(figures, fresh, cell) if cell in found else "")
        tokens = {run["job"]["tokens"] for budget in BUDGETS for run in winners(figures, (units, types, budget))}
        body.append([units, types, " or ".join(f"{each:,}" for each in sorted(tokens)), *row])
    return rows(["units", "types", "tokens", *BUDGETS], body)


def _compared(figures: Figures, fresh: Figures, cell: Cell) -> str:
    ours, best = winners(figures, cell), known(figures, cell)
    if not {key_of(run) for run in (*ours, *best)} <= {*fresh["by_recipe"]}:
        return "not measured"
    first = best[0]
    there = [_mean(fresh, run) / _mean(fresh, first) for run in ours]
    others = [run for run in ours if key_of(run) != key_of(first)]
    error = fmean(
        [paired_error(_counted(fresh, run), _counted(fresh, first)) / _mean(fresh, first) for run in others] or [0.0]
    )
    everywhere = min(_on_both(figures, fresh, run) for run in (*ours, *best))
    both = [_on_both(figures, fresh, run) / everywhere for run in ours]
    return f"**{_listed(there)}** ± {error:.2f}; {_listed(both)}"


def _listed(ratios: Sequence[float]) -> str:
    return ", ".join(f"{ratio:.2f}" for ratio in ratios)


def _counted(fresh: Figures, run: Mapping[str, Any]) -> list[float]:
    """Each chunk's KLD, counted for those it stands for."""
    values = fresh["by_recipe"][key_of(run)]
    return [value * factor for value, factor in zip(values, fresh["factors"], strict=True)]


def _mean(fresh: Figures, run: Mapping[str, Any]) -> float:
    return fmean(_counted(fresh, run))


def _on_both(figures: Figures, fresh: Figures, run: Mapping[str, Any]) -> float:
    """Mean over the first chunks and the pool that the fresh ones were drawn from."""
    first, pool = figures["chunks"], fresh["pool"]
    return float((first * run["report_kld"] + pool * _mean(fresh, run)) / (first + pool))
