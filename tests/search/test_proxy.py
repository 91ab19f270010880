"""The first look: who is clearly behind on the source's own answers is kept out, and generates nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluators.behaviour.outcome import BehaviourResult
from evaluators.behaviour.run import judge_all
from evaluators.divergence import Score
from evaluators.evaluator import Progress
from evaluators.prompts.suite import load_suite
from evaluators.reference import Reference
from evaluators.settings import RuntimeSettings
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import KEPT_OUT, kept_out
from optimizer.search.proxy import TEXT_NAME, TRANSCRIPTS_KLD, Proxy, answers_text
from tests.search.answers import LOOP, RIGHT, WRONG, AnsweringEvaluator, tensor_types, transcript, write_suite
from tests.search.gated import GatedSearch, OnlyBaselines, gated

LONG = "3 and 4 is 7. " * 30 + RIGHT
RECIPE, INCUMBENT = Recipe({"a": "Q4_K"}), Recipe({"a": "Q8_0"})


class WorseOnAnswers(AnsweringEvaluator):
    """Whatever the search proposes loses three times as much on the source's answers as on other text."""

    def __init__(self, *arguments: Any, baselines: OnlyBaselines, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._baselines = baselines
        self._answers: list[Path] = []

    def build_reference(self, model_paths: Sequence[Path], text: Path, folder: Path, **options: Any) -> Reference:
        if text.name == TEXT_NAME:
            self._answers.append(folder)
        return super().build_reference(model_paths, text, folder, **options)

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        score = super().score(candidate_paths, reference, chunks, progress, settings=settings)
        if reference not in self._answers or self._baselines.has(tensor_types(tuple(candidate_paths))):
            return score
        return replace(score, chunks=tuple(replace(each, kld_sum=3 * each.kld_sum) for each in score.chunks))


def forgetful(folder: Path, said: str = LONG, **changes: Any) -> GatedSearch:
    plan = gated(folder, **changes)
    baselines = OnlyBaselines(plan, said, LONG)
    search = GatedSearch(folder, plan, WorseOnAnswers, behaviour=baselines, baselines=baselines)
    assert search.search().finished
    return search


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> GatedSearch:
    return forgetful(tmp_path_factory.mktemp("kept"))


def test_who_is_clearly_behind_is_kept_out_with_both_figures_and_generates_nothing(kept: GatedSearch) -> None:
    out = [trial for trial in kept.records() if kept_out(trial) is not None]
    assert out
    for trial in out:
        metrics = trial.metrics or {}
        assert f"KLD {metrics[TRANSCRIPTS_KLD]:.6f} on the source's own answers, the incumbent 0." in metrics[KEPT_OUT]
        assert "prompts_solved" not in metrics
    with kept.workplace.open_store() as store:
        recipes = [store.recipe(trial.recipe_id).tensor_types for trial in out]
    asked = [types for types, _, _ in kept.asked]
    assert not any(types.items() >= recipe.items() for recipe in recipes for types in asked)
    report = kept.search().study.report
    assert report is not None
    assert report["best"]["name"] is not None


def test_who_is_not_behind_generates_as_ever(kept: GatedSearch) -> None:
    asked = [trial.metrics for trial in kept.records() if "prompts_solved" in (trial.metrics or {})]
    assert len([metrics for metrics in asked if metrics and TRANSCRIPTS_KLD in metrics]) == len(asked) - 1


def test_the_text_is_kept_with_the_study(kept: GatedSearch) -> None:
    path = kept.workplace.study_folder(kept.name) / TEXT_NAME
    assert path.read_text() == "\n\n".join([f"3 + 4 = ?\n{LONG[:256]}"] * 4)


def test_without_the_first_look_they_all_generate_and_who_solves_fewer_than_the_incumbent_is_out(
    tmp_path: Path,
) -> None:
    search = forgetful(tmp_path, WRONG, gate_proxy=False)
    reasons = [reason for trial in search.records() if (reason := kept_out(trial)) is not None]
    assert reasons
    assert all(reason.startswith("solves 0 of 4 prompts, the incumbent 4; lost: p") for reason in reasons)
    assert not (search.workplace.study_folder(search.name) / TEXT_NAME).exists()


class Figures:
    """A measurer that knows the KLD by chunk of two recipes."""

    def __init__(self, ours: list[float], theirs: list[float]) -> None:
        self.text = SimpleNamespace(n_chunks=len(ours))
        self._known = {RECIPE: ours, INCUMBENT: theirs}

    def measure(self, recipe: Recipe, n_chunks: int, label: str = "") -> SimpleNamespace:
        klds = self._known[recipe]
        return SimpleNamespace(by_chunk=dict(enumerate(klds)), score=SimpleNamespace(mean_kld=sum(klds) / len(klds)))


@pytest.mark.parametrize(
    ("ours", "is_out"),
    [
        ([0.2, 0.2, 0.2], True),
        ([0.1, 0.1, 0.1], False),
        ([0.05, 0.05, 0.05], False),
        ([0.1, 0.2, 0.3], False),  # 0.1 behind, at 1.7 standard errors
        ([0.18, 0.2, 0.22], True),  # 0.1 behind, at 8.7
    ],
)
def test_behind_by_more_than_three_standard_errors_is_out(ours: list[float], is_out: bool) -> None:
    said = Proxy(Figures(ours, [0.1, 0.1, 0.1])).ask(RECIPE, INCUMBENT)  # type: ignore[arg-type]
    assert (KEPT_OUT in said) is is_out
    assert said[TRANSCRIPTS_KLD] == pytest.approx(sum(ours) / 3)


def test_long_answers_give_equally_many_tokens_and_endless_ones_none(tmp_path: Path) -> None:
    suite = load_suite(write_suite(tmp_path / "sums.yaml", prompts=3))
    said = {"p0": "a" * 100, "p1": LOOP, "p2": "b" * 10}
    outcomes = judge_all(suite, {name: transcript(name, text) for name, text in said.items()})
    source = BehaviourResult(suite.sha256, outcomes, {})
    text = answers_text(suite.questions(), source, 40)
    assert text == f"3 + 4 = ?\n{'a' * 20}\n\n3 + 4 = ?\n{'b' * 10}"
