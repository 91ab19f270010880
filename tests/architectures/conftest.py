"""Each kind of model driven down the whole road once: plan, bank, candidates, evaluations, search, export."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from evaluators.in_process import InProcessEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.commands.export import export
from optimizer.config import SearchConfig
from optimizer.gguf.model_file import ModelFile
from optimizer.progress import SilentReporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.planning import Plan, make_plan
from optimizer.search.runner import Outcome, run_search
from optimizer.store import TrialRecord
from optimizer.workplace import Workplace
from tests.architectures.kind import Kind
from tests.architectures.kinds import KINDS

SETTINGS = {
    "budget": "Q4_K_M",
    "units": "groups",
    "sampler": "random",
    "trials": 3,
    "evaluation.ctx_size": 32,
    "evaluation.chunks": 8,
    "evaluation.report_chunks": 4,
    "evaluation.first_rung": 1.0,
    "evaluation.batch_size": 256,
    "evaluation.threads": 1,
    "quantization.threads": 1,
    "baselines.presets": False,
    "baselines.variants": False,
    "baselines.hybrids": False,
    "tracking.mlflow": "none",
    "tracking.optuna": False,
}
"""Three trials that all see the whole text: the uniform fill and two drawn at random."""


@dataclass(frozen=True)
class Road:
    """One kind, searched."""

    kind: Kind
    plan: Plan
    workplace: Workplace
    outcome: Outcome

    @property
    def model(self) -> ModelFile:
        return self.plan.model

    @cached_property
    def trials(self) -> list[TrialRecord]:
        with self.workplace.open_store() as store:
            return store.trials(self.outcome.study.id)

    @property
    def winner(self) -> TrialRecord:
        report = self.outcome.study.report
        assert report is not None
        return self.trials[report["best"]["trial"]]

    def recipe(self, trial: TrialRecord) -> Recipe:
        with self.workplace.open_store() as store:
            return Recipe(store.recipe(trial.recipe_id).tensor_types)

    def export(self, form: str, name: str) -> Path:
        """What `layerquant export --as` writes of the winner."""
        out = self.workplace.studies / self.kind.name / name
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            export(self.kind.name, form, None, out, self.workplace.studies, None, None)
        return out


@pytest.fixture(scope="session", autouse=True)
def one_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Presets are asked for once a kind, and not kept in the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "LAYERQUANT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("texts")
    search, report = folder / "search.txt", folder / "report.txt"
    search.write_text("the sand in an hour under the thin roof and 12 apples\n" * 20)
    report.write_text("four gains and a loss in the other town of 1871\n" * 20)
    return search, report


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for the studies of all kinds."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="session", params=list(KINDS))
def road(request: pytest.FixtureRequest, studies: Path, texts: tuple[Path, Path]) -> Road:
    return drive(KINDS[request.param], studies, texts)


def drive(kind: Kind, studies: Path, texts: tuple[Path, Path], **changes: object) -> Road:
    """Search a model of this kind with the real llama.cpp; `changes` have double underscores for dots."""
    settings = {
        "model": str(kind.write(studies / "models")),
        "search_text": str(texts[0]),
        "report_text": str(texts[1]),
        **SETTINGS,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    plan = make_plan(SearchConfig.load(None, settings))
    workplace = Workplace(studies)

    def evaluator(runtime: RuntimeSettings) -> InProcessEvaluator:
        return InProcessEvaluator(runtime)

    outcome = run_search(plan, workplace, SilentReporter(), [False], name=kind.name, evaluator_factory=evaluator)
    return Road(kind, plan, workplace, outcome)
