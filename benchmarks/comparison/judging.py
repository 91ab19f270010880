"""Judge what the jobs found, and the stock presets, on report text: once per recipe, on the same chunks for all."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.comparison.jobs import IMATRIX_TYPES, K_AND_IQ_TYPES
from benchmarks.comparison.longer_texts import write_longer_text
from benchmarks.comparison.running import MODEL
from evaluators.process import EvaluatorProcess
from optimizer.config import SearchConfig
from optimizer.progress import SilentReporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import is_ladder_preset, rival_presets
from optimizer.search.bench import open_bench
from optimizer.search.claiming import add_model
from optimizer.search.imatrix_auto import with_imatrix
from optimizer.search.interpolation import LadderPoint, preset_kld_at
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan, make_plan
from optimizer.search.texts import choose_text, prepare_text
from optimizer.workplace import Workplace


@dataclass(frozen=True)
class Judge:
    """`chunks` of report text; scores are kept in the folder's own database and never measured twice."""

    plan: Plan
    measurer: Measurer
    chunks: int

    def by_chunk(self, tensor_types: Mapping[str, str], chunks: int | None = None) -> list[float]:
        """Mean KLD of each chunk, or of the first ones alone, nats per token."""
        chunks = min(chunks or self.chunks, self.chunks)
        scores = self.measurer.measure(Recipe(tensor_types), chunks).by_chunk
        return [scores[chunk] for chunk in range(chunks)]

    def ladder(self, allowed: Iterable[str] | None = None) -> list[LadderPoint]:
        """Stock K- and IQ-presets on report text; `allowed`: only those made of these tensor types."""
        wanted = set(allowed) if allowed is not None else None
        points = []
        for name, recipe in rival_presets(self.plan.presets, self.plan.imatrix).items():
            if is_ladder_preset(name) and (wanted is None or set(recipe.tensor_types.values()) <= wanted):
                scores = self.by_chunk(recipe.tensor_types)
                points.append(LadderPoint(name, self.plan.preset_bytes[name], sum(scores) / len(scores)))
        return points

    def preset_kld(self, n_bytes: int, allowed: Iterable[str] | None = None) -> float:
        """The presets' KLD interpolated at these bytes."""
        found = preset_kld_at(self.ladder(allowed), n_bytes)
        if found is None or found.extrapolated:
            raise ValueError(f"{n_bytes} bytes lie outside the presets' ladder")
        return found.kld


@contextmanager
def open_judge(
    folder: Path, chunks: int, ctx_size: int, *, with_imatrix_types: bool = False, documents: int | None = None
) -> Iterator[Judge]:
    """documents: of report text, in place of `longer_texts.DOCUMENTS`. with_imatrix_types: everything, presets too, is
    made with the importance matrix of the jobs that have one.
    """
    types = IMATRIX_TYPES if with_imatrix_types else K_AND_IQ_TYPES
    changes: dict[str, Any] = {
        "model": MODEL, "units": "groups", "types": list(types), "evaluation.ctx_size": ctx_size,
        "evaluation.chunks": chunks, "tracking.mlflow": "none", "tracking.optuna": False,
    }  # fmt: skip
    reporter = SilentReporter()
    config = SearchConfig.load(None, changes)
    if with_imatrix_types:
        made = config.model_copy(update={"imatrix": "auto", "imatrix_text": "demo/texts/imatrix.txt"})
        config = with_imatrix(made, Workplace(folder / "imatrix"), reporter)
    plan = make_plan(config)
    workplace = Workplace(folder / "judge")
    with workplace.open_store() as store:
        model = add_model(store, plan)
        with open_bench(plan, workplace, store, model, reporter, EvaluatorProcess) as bench:
            choice = choose_text(str(write_longer_text(folder, "report", documents)), "report")
            text = prepare_text(bench, choice, chunks)
            yield Judge(plan, bench.measurer(None, text, reporter), text.n_chunks)


def checkpoints(incumbents: list[dict[str, Any]], tokens: Iterable[int]) -> dict[int, dict[str, Any]]:
    """The incumbent at each number of evaluated tokens, where there is one."""
    found = {}
    for limit in tokens:
        known = [each for each in incumbents if each["tokens"] <= limit]
        if known:
            found[limit] = known[-1]
    return found


def save(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
