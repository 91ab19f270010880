"""How a study's source and its recipes behave: candidates are built where their answers are not known yet."""

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.evaluator import Progress
from optimizer.recipes.recipe import Recipe
from optimizer.search.behaviour import BehaviourMeasurer, Subject
from optimizer.search.bench import Bench
from optimizer.search.context import SearchContext
from optimizer.search.suites import Questions, SuiteChoice


class StudyBehaviours:
    def __init__(self, context: SearchContext, bench: Bench, choice: SuiteChoice) -> None:
        plan = context.plan
        self._build = bench.builder.build
        self._fingerprint = plan.model.fingerprint
        self._reporter = context.reporter
        self._measurer = BehaviourMeasurer(
            bench.evaluator,
            choice.settings,
            Subject(self._fingerprint, lambda: plan.model.paths),
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
        subject = Subject(f"{self._fingerprint}:{recipe.key}", lambda: self._build(recipe).paths)
        return self._measurer.measure(subject, questions, label)

    def _progress(self, label: str) -> Progress:
        return lambda done, total: self._reporter.work(done, total, f"{label}: prompts")
