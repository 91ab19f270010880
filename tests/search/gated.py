"""A search with the gate on a tiny model: who answers what is known, and what was generated is counted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluators.settings import RuntimeSettings
from optimizer.search.planning import Plan
from optimizer.search.runner import Outcome, run_search
from optimizer.store import TrialRecord
from optimizer.workplace import Workplace
from tests.search.answers import RIGHT, AnsweringEvaluator, write_suite
from tests.search.searches import Search, prepare

TRIALS = 13


class GatedSearch(Search):
    """`asked` lists the generations of all runs."""

    def __init__(
        self, folder: Path, plan: Plan, kind: type[AnsweringEvaluator] = AnsweringEvaluator, **options: Any
    ) -> None:
        super().__init__(folder, plan, **options)
        self._kind = kind
        # Quantizing takes most of these searches' time, and they all search the same model.
        self.workplace = Workplace(folder / "studies", bank=folder.parent / "bank")
        self.evaluators: list[AnsweringEvaluator] = []

    def search(self, *, stops_answering_at: int | None = None) -> Outcome:
        def make(settings: RuntimeSettings) -> AnsweringEvaluator:
            made = self._kind(settings, stops_answering_at=stops_answering_at, **self.options)
            self.evaluators.append(made)
            return made

        return run_search(self.plan, self.workplace, self.reporter, [False], name=self.name, evaluator_factory=make)

    @property
    def asked(self) -> list[tuple[Mapping[str, str], tuple[str, ...], int]]:
        return [each for evaluator in self.evaluators for each in evaluator.asked]

    def records(self) -> list[TrialRecord]:
        with self.workplace.open_store() as store:
            study = store.find_study(self.name)
            assert study is not None
            return store.trials(study.id)


def gated(folder: Path, **changes: Any) -> Plan:
    suite = write_suite(folder / "sums.yaml")
    return prepare(folder, **{"trials": TRIALS, "prompts": str(suite), **changes})


class OnlyBaselines:
    """The source and the baselines answer well; whatever the search proposes gives the other answer to every prompt."""

    def __init__(self, plan: Plan, said: str, well: str = RIGHT) -> None:
        recipes = [each.recipe.tensor_types for group in plan.baselines.values() for each in group]
        self._known = [dict(types) for types in recipes]
        self._said, self._well = said, well

    def __call__(self, types: Mapping[str, str], question_id: str) -> str:
        return self._well if self.has(types) or set(types.values()) <= {"F16", "F32"} else self._said

    def has(self, types: Mapping[str, str]) -> bool:
        """Whether these are a baseline's types."""
        return any(all(types[name] == given for name, given in known.items()) for known in self._known)
