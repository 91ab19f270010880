"""Searches on fake evaluators, by executors in place of the plain scorer."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from evaluators.divergence import Score
from evaluators.evaluator import EngineInfo, Evaluator
from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.execution.executor import Role, Task
from optimizer.execution.local import LocalExecutor
from optimizer.execution.node import Node
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.opening import open_executor, open_scorer
from optimizer.execution.problems import WorkerLost
from optimizer.execution.setup import FileName, StudySetup
from optimizer.progress import Reporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.facts import Facts
from optimizer.search.planning import Plan
from optimizer.search.runner import Outcome, run_search
from optimizer.search.scoring import Scorer
from optimizer.settings import ExecutionSettings
from optimizer.store import TrialRecord
from optimizer.workplace import Workplace
from tests.search.searches import Search, prepare


class OtherBuild(FakeEvaluator):
    """The same fake, of another build."""

    def engine(self) -> EngineInfo:
        return replace(super().engine(), version="2")


SMALL: dict[str, Any] = {
    "units": "layers", "types": "Q2_K,Q3_K_M,Q4_K_M,Q6_K", "baselines__variants": False, "baselines__hybrids": False,
    "evaluation__chunks": 8, "evaluation__threads": 1,
}  # fmt: skip
"""Settings of a search of a few seconds; most of a search's time goes into shards, and baselines have many."""


class WorkersSearch(Search):
    """`Search` with `--workers`, on fake evaluators. bank: shared, since all these searches search the same model."""

    def __init__(self, folder: Path, bank: Path, **changes: Any) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, prepare(folder, **SMALL, **changes))
        self.workplace = Workplace(folder / "studies", bank=bank)
        self._changes = changes

    def with_trials(self, trials: int) -> Plan:
        """The same plan with another number of trials."""
        return prepare(self.workplace.studies.parent, **SMALL, **{**self._changes, "trials": trials})

    def run_with(self, workers: int, plan: Plan | None = None, interrupted: list[bool] | None = None) -> Outcome:
        plan = plan or self.plan
        return run_search(
            plan, self.workplace, self.reporter, interrupted or [False], name=self.name,
            evaluator_factory=self.make, open_scorer=open_scorer(ExecutionSettings(workers=workers), self.make),
        )  # fmt: skip

    def make(self, settings: RuntimeSettings) -> Evaluator:
        self.runs.append(FakeEvaluator(settings, **self.options))
        return self.runs[-1]

    def records(self) -> list[TrialRecord]:
        with self.workplace.open_store() as store:
            study = store.find_study(self.name)
            assert study is not None
            return store.trials(study.id)

    def run_on(self, executor: LocalExecutor, plan: Plan | None = None) -> Outcome:
        """On the workers of an executor that a test has made."""

        @contextmanager
        def opened(plan: Plan, workplace: Workplace, reporter: Reporter, facts: Facts) -> Iterator[Scorer]:
            with open_executor(plan, executor, lambda found: 1, reporter, facts, patience=0.0) as scorer:
                yield scorer

        return run_search(plan or self.plan, self.workplace, self.reporter, [False], name=self.name, open_scorer=opened)

    def nodes(self, *factories: Callable[[RuntimeSettings], Evaluator]) -> list[Node]:
        """One a factory, each with a folder of its own, as on machines that share nothing."""
        folder = self.workplace.studies.parent
        return [Node(NodeSettings(str(folder / f"node-{number}")), factory) for number, factory in enumerate(factories)]


class MortalExecutor(LocalExecutor):
    """Loses the worker of every job for which `fatal` holds, as if its process had died; then all are started again,
    under new names.
    """

    def __init__(self, nodes: list[Node], fatal: Callable[[object], bool]) -> None:
        super().__init__(nodes)
        self._fatal = fatal
        self.deaths = 0

    def workers(self, role: Role) -> Mapping[str, str]:
        return {f"{name}-{self.deaths}": host for name, host in super().workers(role).items()}

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        if any(self._fatal(each) for each in arguments):
            self.deaths += 1
            future: Future[Any] = Future()
            future.set_exception(WorkerLost(f"worker {worker} ended"))
            return future
        return super().submit(task, *arguments, worker=worker.split("-")[0], role=role)


class SlowFake(FakeEvaluator):
    """Takes a while for every score, so that something can happen in its middle."""

    def score(self, *arguments: Any, **options: Any) -> Score:
        time.sleep(0.15)
        return super().score(*arguments, **options)


class SlowOtherBuild(SlowFake, OtherBuild):
    """Both."""


class BlindExecutor(LocalExecutor):
    """Workers that do not see the coordinator's files, as on machines that share nothing."""

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        return super().submit(task, *map(_without_paths, arguments), worker=worker, role=role)


def _without_paths(value: Any) -> Any:
    if isinstance(value, FileName):
        return replace(value, path="/nowhere/at/all")
    if isinstance(value, StudySetup):
        return replace(value, imatrix=_without_paths(value.imatrix))
    if is_dataclass(value) and not isinstance(value, type | RuntimeSettings | Recipe):
        changes = {each.name: _without_paths(getattr(value, each.name)) for each in fields(value) if each.init}
        return replace(value, **changes)
    return value
