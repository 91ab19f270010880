"""How a study's source and its recipes behave: candidates are built where their answers are not known yet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.evaluator import EngineInfo, Progress
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Generation
from evaluators.settings import RuntimeSettings
from optimizer.recipes.recipe import Recipe
from optimizer.search.behaviour import BehaviourMeasurer, Subject
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.scoring import Scorer
from optimizer.search.suites import Questions, SuiteChoice


class RecipeAnswers:
    """Answers for one recipe's candidate, or for the source (None), wherever the scorer has its files."""

    def __init__(self, scorer: Scorer, recipe: Recipe | None) -> None:
        self._scorer, self._recipe = scorer, recipe

    @property
    def settings(self) -> RuntimeSettings:
        return self._scorer.settings

    def engine(self) -> EngineInfo:
        return self._scorer.engine()

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        """`model_paths` is empty: the scorer knows where the files are."""
        return self._scorer.generate(self._recipe, questions, settings, drafts, progress)


class StudyBehaviours:
    def __init__(self, context: SearchContext, bench: Bench, choice: SuiteChoice) -> None:
        plan = context.plan
        self._scorer = bench.scorer
        self._fingerprint = plan.model.fingerprint
        self._reporter = context.reporter
        self._measurer = BehaviourMeasurer(
            RecipeAnswers(bench.scorer, None),
            choice.settings,
            Subject(self._fingerprint, tuple),
            store=context.store,
            lease=context.lease,
            imatrix_sha256=plan.imatrix.sha256 if plan.imatrix else None,
            progress=self._progress,
        )

    def source(self, questions: Questions) -> BehaviourResult:
        """The source model's own answers: the drafts of all others."""
        found = self._measurer.source(questions)
        assert found is not None, "a study has a source"
        return found

    def of(self, recipe: Recipe, questions: Questions, label: str = "") -> BehaviourResult:
        """Raises EvaluationError where the answers must be generated and cannot be."""
        subject = Subject(f"{self._fingerprint}:{recipe.key}", tuple, RecipeAnswers(self._scorer, recipe))
        return self._measurer.measure(subject, questions, label)

    def _progress(self, label: str) -> Progress:
        return lambda done, total: self._reporter.work(done, total, f"{label}: prompts")
