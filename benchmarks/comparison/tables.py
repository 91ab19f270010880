"""The tables of docs/benchmarks.md from the judged figures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from random import Random
from statistics import fmean
from typing import Any

from benchmarks.comparison.jobs import (
    BUDGETS,
    JUDGED_AT_THEIR_END,
    OPTIMUM,
    OURS,
    WITH_IMATRIX,
)
from benchmarks.comparison.known import Run, inside, of, paired_error, rows

WITHIN = (0.02, 0.10, 0.25)
HALVINGS = 100
LEFT = 0.0005
"""Share of a budget that may stay unused without a word."""


def _samplers(runs: Sequence[Run]) -> list[str]:
    names = dict.fromkeys(run["job"]["sampler"] for run in runs)
    return sorted(names, key=lambda name: (name != OURS, name))


def _spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    if len(values) == 1:
        return show(values[0])
    return f"{show(fmean(values))} ({show(min(values))}-{show(max(values))})"


def _kld(run: Run, chunks: int) -> float:
    """Nats per token on the first chunks of report text."""
    return fmean(run["report_by_chunk"][:chunks])


def at_equal_tokens(figures: Mapping[str, Any]) -> str:
    """KLD on the report text that all were judged on: of what each sampler had found, mean and range over seeds, and
    over ours.
    """
    runs = of(figures["runs"], group="equal")
    shared = min(len(run["report_by_chunk"]) for run in runs)
    body = []
    for sampler in _samplers(runs):
        cells = [f"`{sampler}`"]
        for budget in BUDGETS:
            here = [_kld(run, shared) for run in of(runs, sampler=sampler, budget=budget)]
            ours = [_kld(run, shared) for run in of(runs, sampler=OURS, budget=budget)]
            cells.append(_spread(here, lambda value: f"{value:.5f}") if here else "")
            cells.append(f"{fmean(here) / fmean(ours):.2f}" if here and ours else "")
        spent = [run["tokens"] for run in of(runs, sampler=sampler)]
        body.append([*cells, f"{fmean(spent):,.0f}"])
    head = ["sampler", *(cell for budget in BUDGETS for cell in (budget, "over ours")), "tokens"]
    return rows(head, body)


def tokens_to_arrive(figures: Mapping[str, Any]) -> str:
    """Evaluated tokens until KLD on report text is within a share of the least that any run has there at its end.

    A run that never was says so.
    """
    body = []
    for types in ("K+IQ", "K"):
        found = of(figures["runs"], units="groups", types=types)
        runs = [run for run in found if run["job"]["group"] != OPTIMUM]
        for sampler in _samplers(runs):
            for group, tokens in dict.fromkeys(
                (run["job"]["group"], run["job"]["tokens"]) for run in of(runs, sampler=sampler)
            ):
                cells = [f"`{sampler}`" if group in ("equal", "spaces") else f"`{sampler}`, to {tokens:,}", types]
                for budget in BUDGETS:
                    mine = of(runs, sampler=sampler, group=group, tokens=tokens, budget=budget)
                    cells.append(_arrivals(mine, inside(figures["runs"], "groups", types, budget)))
                body.append(cells)
    within = " / ".join(f"{share:.0%}" for share in WITHIN)
    return rows(["sampler", "types", *(f"{budget}: within {within}" for budget in BUDGETS)], body)


def _arrivals(runs: Sequence[Run], known: Sequence[Run]) -> str:
    """The mean over those of these runs that arrived, for each share; empty without runs."""
    cells = []
    for share in WITHIN:
        arrived = [tokens for tokens in (_arrival(run, known, share) for run in runs) if tokens is not None]
        text = f"{fmean(arrived) / 1000:.0f}k" if arrived else "-"
        cells.append(text + (f" ({len(arrived)}/{len(runs)})" if 0 < len(arrived) < len(runs) else ""))
    return " / ".join(cells) if runs else ""


def _arrival(run: Run, known: Sequence[Run], share: float) -> float | None:
    """Tokens after which a run was within this share of the least known, on the chunks its own course was judged on;
    None where it never was.
    """
    chunks = run["arrivals_chunks"]
    kld = min(_kld(each, chunks) for each in known if len(each["report_by_chunk"]) >= chunks) * (1 + share)
    course = [*run["arrivals"], [run["tokens"], _kld(run, chunks)]]
    return next((tokens for tokens, found in course if found <= kld), None)


def against_presets(figures: Mapping[str, Any]) -> str:
    """Ours over the stock presets interpolated at the winner's budget, by units and types."""
    runs = [
        run
        for run in figures["runs"]
        if run["job"]["sampler"] == OURS
        and run["job"]["group"] not in JUDGED_AT_THEIR_END
        and run["job"]["types"] != WITH_IMATRIX
    ]
    body = []
    for units, types in dict.fromkeys((run["job"]["units"], run["job"]["types"]) for run in runs):
        cells = [units, types]
        for budget in BUDGETS:
            here = [run["report_kld"] for run in of(runs, units=units, types=types, budget=budget)]
            interpolated = figures["interpolated"][budget]
            for ladder in ("K", "all"):
                ratios = [kld / interpolated[ladder] for kld in here]
                cells.append(_spread(ratios, lambda value: f"{value:.2f}") if ratios else "")
        body.append(cells)
    head = ["units", "types", *(f"{budget}, over {what}" for budget in BUDGETS for what in ("K-presets", "all"))]
    return rows(head, body)


def with_imatrix(figures: Mapping[str, Any]) -> str:
    """Ours and the best rivals with an importance matrix, over presets made with it too, and over ours without one."""
    runs = of(figures["runs"], types=WITH_IMATRIX, group="imatrix")
    body = []
    for sampler in _samplers(runs):
        cells = [f"`{sampler}`"]
        for budget in BUDGETS:
            mine = of(runs, sampler=sampler, budget=budget)
            plain = of(figures["runs"], sampler=OURS, budget=budget, group="equal")
            if not mine:
                cells += ["", "", ""]
                continue
            shared = min(len(run["report_by_chunk"]) for run in (*mine, *plain))
            presets = figures["interpolated"][budget][WITH_IMATRIX]
            cells.append(_spread([run["report_kld"] for run in mine], lambda value: f"{value:.5f}"))
            cells.append(_spread([run["report_kld"] / presets for run in mine], lambda value: f"{value:.2f}"))
            cells.append(f"{fmean(_kld(run, shared) for run in mine) / fmean(_kld(run, shared) for run in plain):.2f}")
        body.append(cells)
    heads = ("KLD", "over presets with it", "over ours without")
    return rows(["sampler", *(f"{budget}: {what}" for budget in BUDGETS for what in heads)], body)


def against_optimum(figures: Mapping[str, Any]) -> str:
    """Ours over the best that any run found in the same space, on report text; a row for each number of tokens.

    First with the best chosen on one half of the chunks and compared on the other (mean over random halves), then with
    the best chosen on the very chunks where it is compared.
    """
    body = []
    searches = [run for run in of(figures["runs"], sampler=OURS) if run["job"]["group"] != OPTIMUM]
    spaces = list(dict.fromkeys((run["job"]["units"], run["job"]["types"]) for run in searches))
    limits = sorted({run["job"]["tokens"] for run in searches})
    for (units, types), tokens in product(spaces, limits):
        if not of(searches, units=units, types=types, tokens=tokens):
            continue
        cells = [units, types, f"{tokens:,}"]
        for budget in BUDGETS:
            everything = inside(figures["runs"], units, types, budget)
            longest = max((len(run["report_by_chunk"]) for run in everything), default=0)
            everything = [run for run in everything if len(run["report_by_chunk"]) == longest]
            here = of(searches, units=units, types=types, budget=budget, tokens=tokens)
            ours = [run for run in here if len(run["report_by_chunk"]) == longest]
            if not ours:
                cells.append("")
                continue
            chosen = min(everything, key=lambda run: float(run["report_kld"]))
            ratios = [run["report_kld"] / chosen["report_kld"] for run in ours]
            error = fmean(
                [paired_error(run["report_by_chunk"], chosen["report_by_chunk"]) / chosen["report_kld"] for run in ours]
            )
            label = f"{chosen['job']['sampler']}, {chosen['tokens'] / 1000:.0f}k"
            same = f"{_spread(ratios, lambda value: f'{value:.2f}')} ± {error:.2f} of {label}"
            cells.append(f"**{_by_halves(ours, everything):.2f}**; {same}")
        body.append(cells)
    return rows(["units", "types", "tokens", *BUDGETS], body)


def _by_halves(ours: Sequence[Run], everything: Sequence[Run]) -> float:
    """Ours over the best of all, chosen on chunks where it is not compared: its luck there does not count."""
    mine = [run["report_by_chunk"] for run in ours]
    known = [run["report_by_chunk"] for run in everything]
    chunks, shuffle, ratios = list(range(len(mine[0]))), Random(0), []
    for _ in range(HALVINGS):
        shuffle.shuffle(chunks)
        half = len(chunks) // 2
        for chosen, compared in ((chunks[:half], chunks[half:]), (chunks[half:], chunks[:half])):
            best = min(known, key=lambda by_chunk, seen=chosen: _total(by_chunk, seen))
            ratios.append(fmean(_total(each, compared) for each in mine) / _total(best, compared))
    return fmean(ratios)


def _total(by_chunk: Sequence[float], chunks: Iterable[int]) -> float:
    return sum(by_chunk[chunk] for chunk in chunks)


def leftovers(figures: Mapping[str, Any]) -> str:
    """Winners of ours that left more than a word's worth of their budget, and what is proven of those bytes."""
    body = dict[tuple[str, ...], None]()
    for run in of(figures["runs"], sampler=OURS):
        share, job = 1 - run["size_bytes"] / run["budget_bytes"], run["job"]
        if share > LEFT and job["group"] != OPTIMUM:
            proof = (run.get("leftover") or {}).get("text", "")
            body[(job["units"], job["types"], job["budget"], f"{share:.3%}", proof)] = None
    return rows(["units", "types", "budget", "left", "proof"], sorted(body))


def curves(figures: Mapping[str, Any], budget: str) -> dict[str, list[tuple[float, float]]]:
    """Sampler -> (evaluated tokens, KLD on report text), the mean over seeds; from where every seed has something."""
    runs = of(figures["runs"], group="equal", budget=budget)
    found: dict[str, list[tuple[float, float]]] = {}
    for sampler in _samplers(runs):
        by_tokens = [dict(map(tuple, run["report"])) for run in of(runs, sampler=sampler)]
        shared = sorted(set.intersection(*(set(each) for each in by_tokens)))
        points = [(float(tokens), fmean(each[tokens] for each in by_tokens)) for tokens in shared]
        if points:
            found[sampler] = points
    return found
