"""A whole search on a tiny random model with known damage: seconds, and no llama.cpp but for the presets' types."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluators.divergence import Score
from evaluators.errors import EngineCrash
from evaluators.evaluator import Progress
from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.gguf.model_file import ModelFile
from optimizer.progress import SilentReporter
from optimizer.search.planning import Plan, make_plan
from optimizer.search.runner import Outcome, run_search
from optimizer.workplace import Workplace
from tests.models import tiny_model

QUIET = {"tracking.mlflow": "none", "tracking.optuna": False}


def prepare(folder: Path, **changes: Any) -> Plan:
    """A plan over a 4-layer model; `changes` are settings with dots written as double underscores."""
    model = folder / "tiny.gguf"
    if not model.exists():
        model = tiny_model(folder, n_layer=4)
        for name in ("search", "report"):
            (folder / f"{name}.txt").write_text(name * 4000)
    settings = {
        "model": str(model),
        "units": "groups",
        "trials": 24,
        "search_text": str(folder / "search.txt"),
        "report_text": str(folder / "report.txt"),
        "evaluation.ctx_size": 64,
        "evaluation.chunks": 16,
        **QUIET,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return make_plan(SearchConfig.load(None, settings))


class FailingShards(dict[str, Exception]):
    """Every shard of one tensor at one type; looked up by a shard's file name."""

    def __init__(self, tensor: str, tensor_type: str) -> None:
        self._parts = (tensor, tensor_type)

    def __contains__(self, name: object) -> bool:
        return all(part in str(name) for part in self._parts)

    def __getitem__(self, name: str) -> Exception:
        return EngineCrash(f"GGML_ASSERT failed in {name}")

    def __bool__(self) -> bool:
        return True


class DyingEvaluator(FakeEvaluator):
    """Ends the process, as far as the search can tell, at one call of score()."""

    def __init__(self, settings: RuntimeSettings, dies_at: int | None, **options: Any) -> None:
        super().__init__(settings, **options)
        self._dies_at = dies_at

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        if self._dies_at is not None and len(self.scored) >= self._dies_at:
            raise SystemExit("killed")
        return super().score(candidate_paths, reference, chunks, progress, settings=settings)


class Search:
    """Runs one study again and again; `scored` counts the evaluations of all runs."""

    def __init__(self, folder: Path, plan: Plan, **options: Any) -> None:
        self.plan, self.options = plan, options
        self.workplace = Workplace(folder / "studies")
        self.name = "study"
        self.reporter = SilentReporter()
        self.runs: list[FakeEvaluator] = []

    def run(
        self, *, dies_at: int | None = None, plan: Plan | None = None, interrupted: list[bool] | None = None
    ) -> Outcome:
        def make(settings: RuntimeSettings) -> FakeEvaluator:
            self.runs.append(DyingEvaluator(settings, dies_at, **self.options))
            return self.runs[-1]

        return run_search(
            plan or self.plan,
            self.workplace,
            self.reporter,
            interrupted or [False],
            name=self.name,
            evaluator_factory=make,
        )

    @property
    def scored(self) -> int:
        return sum(len(run.scored) for run in self.runs)

    def trials(self) -> list[tuple[Any, ...]]:
        with self.workplace.open_store() as store:
            study = store.find_study(self.name)
            assert study is not None
            return [(t.number, t.state, t.origin, t.size_bytes, t.mean_kld, t.params) for t in store.trials(study.id)]


def write_imatrix(path: Path, model: ModelFile) -> Path:
    """A legacy .dat with random importance for every matrix of the layers, as llama-imatrix covers them."""
    names = [tensor.name for tensor in model.tensors if tensor.name.startswith("blk.") and len(tensor.shape) > 1]
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(struct.pack("<i", len(names)))
        for name in names:
            values = rng.exponential(1.0, model.by_name[name].shape[0]).astype(np.float32)
            file.write(
                struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, values.size) + values.tobytes()
            )
        file.write(struct.pack("<i", 1) + struct.pack("<i", 4) + b"text")
    return path
