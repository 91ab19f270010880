"""What leaving out layers costs: the best file with all layers and the best without some, side by side."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from optimizer.recipes.recipe import Recipe
from optimizer.search.best import best_trial, estimated_kld
from optimizer.search.budget import Budget
from optimizer.search.measuring import Measurement, Measurer
from optimizer.search.prune_origin import is_pruned, pruned_layers
from optimizer.search.prune_sets import BLOCK_INFLUENCE, PRUNE_SETS
from optimizer.store import Store, TrialRecord

PUBLISHED = "a published hybrid without two of its 48 layers has a KLD of 1.8"
"""For comparison, where people read what pruning costs."""


def rivals(
    trials: Sequence[TrialRecord], rivals_only: Collection[str], budget: Budget
) -> tuple[TrialRecord | None, TrialRecord | None]:
    """The best trial within the budget with all layers, and the best without some, be it out of its race."""
    whole = best_trial([trial for trial in trials if not is_pruned(trial)], rivals_only, budget.n_bytes)
    pruned = [trial for trial in trials if is_pruned(trial) and trial.budget_bytes == budget.n_bytes]
    scored = [trial for trial in pruned if trial.state in ("complete", "pruned") and trial.mean_kld is not None]
    return whole, min(scored, key=lambda trial: (_search_kld(trial), trial.number), default=None)


def pruning_report(
    winner: TrialRecord,
    trials: Sequence[TrialRecord],
    rivals_only: Collection[str],
    budget: Budget,
    store: Store,
    measurer: Measurer,
    progress: Mapping[str, Any],
    step: Callable[[str], None],
) -> dict[str, Any]:
    """The object `pruning` of a budget's report: both files on report text, and every set that was probed."""
    whole, pruned = rivals(trials, rivals_only, budget)
    sets = progress.get(PRUNE_SETS) or []
    influence = progress.get(BLOCK_INFLUENCE)
    rows = {}
    for name, trial in (("without", whole), ("with", pruned)):
        if trial is not None:
            step(f"trial {trial.number}")
            recipe = Recipe(store.recipe(trial.recipe_id).tensor_types)
            rows[name] = _row(trial, measurer.measure(recipe, measurer.text.n_chunks, f"trial {trial.number}"))
    return {
        "winner_layers": list(pruned_layers(winner)),
        "with": rows.get("with"),
        "without": rows.get("without"),
        "text": _sentence(rows.get("with"), rows.get("without"), "report"),
        "block_influence": influence,
        "probes": sets,
    }


def pruning_so_far(
    trials: Sequence[TrialRecord], rivals_only: Collection[str], budget_bytes: Collection[int | None]
) -> list[str]:
    """One line a budget that has trials without layers, from their figures on search text."""
    lines = []
    for n_bytes in sorted(each for each in budget_bytes if each is not None):
        whole, pruned = rivals(trials, rivals_only, Budget(str(n_bytes), n_bytes))
        if whole is not None and pruned is not None:
            with_it = {"layers": list(pruned_layers(pruned)), "mean_kld": _search_kld(pruned)}
            lines.append(_sentence(with_it, {"mean_kld": whole.mean_kld}, "search"))
    return lines


def _search_kld(trial: TrialRecord) -> float:
    """On the full search text, estimated where the trial saw part of it."""
    estimate = estimated_kld(trial)
    return float(trial.mean_kld or 0.0) if estimate is None else estimate


def _row(trial: TrialRecord, measurement: Measurement) -> dict[str, Any]:
    score = measurement.score
    return {
        "trial": trial.number,
        "layers": list(pruned_layers(trial)),
        "size_bytes": trial.size_bytes,
        "mean_kld": score.mean_kld,
        "mean_kld_standard_error": score.mean_kld_standard_error,
        "perplexity": score.perplexity,
        "search_mean_kld": _search_kld(trial),
    }


def _sentence(pruned: Mapping[str, Any] | None, whole: Mapping[str, Any] | None, text: str) -> str:
    if pruned is None or whole is None:
        return "pruning: no file without layers was scored"
    layers = ", ".join(map(str, pruned["layers"]))
    ratio = pruned["mean_kld"] / whole["mean_kld"] if whole["mean_kld"] else float("inf")
    return (
        f"pruning: without layer{'s' if len(pruned['layers']) > 1 else ''} {layers} the KLD is "
        f"{pruned['mean_kld']:.5f}, with all layers {whole['mean_kld']:.5f} ({ratio:.2f} x) at the same budget on "
        f"{text} text; {PUBLISHED}"
    )
