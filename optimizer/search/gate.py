"""The gate before the incumbent: what the best KLD so far must not do on the search half of a suite.

It is asked only where a trial would become the incumbent, so most trials generate nothing. Who is kept out stays a
complete trial with its KLD; the reason is among its metrics, and it neither leads a race nor wins the study.
"""

from collections.abc import Mapping
from typing import Any

from evaluators.behaviour.gate import ask_gate
from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.scores import score
from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import Bench
from optimizer.search.best import KEPT_OUT, PROMPTS_SOLVED, PROMPTS_TOTAL
from optimizer.search.context import SearchContext
from optimizer.search.proxy import Proxy, open_proxy
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.suites import Questions, SuiteChoice
from optimizer.workplace import Workplace


class Gate:
    """Asks about recipes of one study's model."""

    def __init__(self, behaviours: StudyBehaviours, questions: Questions, proxy: Proxy | None = None) -> None:
        """proxy: what looks at candidates before they generate anything."""
        self._behaviours = behaviours
        self._questions = questions
        self._proxy = proxy

    def ask(self, recipe: Recipe, incumbent: Recipe | None, label: str = "") -> Mapping[str, Any]:
        """The trial's metrics: figures on the prompts, and `kept_out` where it may not lead. Raises EvaluationError."""
        seen: Mapping[str, Any] = {}
        if self._proxy is not None and incumbent is not None:
            seen = self._proxy.ask(recipe, incumbent, label)
            if KEPT_OUT in seen:
                return seen
        of = self._behaviours.of
        candidate = of(recipe, self._questions, label)
        rival = of(incumbent, self._questions, "incumbent").prompts if incumbent is not None else None
        verdict = ask_gate(candidate.prompts, rival, self._behaviours.source(self._questions).prompts)
        metrics = {**seen, **_figures(candidate)}
        return metrics if verdict.passed else {**metrics, KEPT_OUT: "; ".join(verdict.reasons)}

    def answer(self, recipe: Recipe, label: str = "") -> Mapping[str, Any]:
        """The figures on the prompts of a trial that asks for nothing. Raises EvaluationError."""
        return _figures(self._behaviours.of(recipe, self._questions, label))


def _figures(found: BehaviourResult) -> dict[str, Any]:
    scores = score(found.prompts)
    return {
        PROMPTS_SOLVED: scores.count.solved,
        PROMPTS_TOTAL: scores.count.total,
        "prompts_unavailable": scores.count.unavailable,
        "prompts_loops": scores.loops,
        "prompts_out_of_tokens": scores.out_of_tokens,
    }


def open_gate(
    context: SearchContext,
    bench: Bench,
    workplace: Workplace,
    choice: SuiteChoice | None,
    behaviours: StudyBehaviours | None,
) -> Gate | None:
    """None without prompts, or where the settings want no gate; else the source has answered the search half."""
    if choice is None or behaviours is None or not context.plan.config.gate:
        return None
    context.check_stop()
    context.reporter.phase(f"the source's answers to {choice.search.suite.name}", 1)
    source = behaviours.source(choice.search)
    return Gate(behaviours, choice.search, open_proxy(context, bench, workplace, choice.search, source))
