"""The report: who wins a budget, which presets it is held against, and what is said of the whole study."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from evaluators.fake import FakeEvaluator
from evaluators.fake_damage import damage_of_tensors
from optimizer.progress import SilentReporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.baselines import PRESET
from optimizer.search.bench import open_bench
from optimizer.search.best import best_trial
from optimizer.search.hints import Hint, keep_form
from optimizer.search.preset_ladder import MAX_ABOVE, climb, presets_above
from optimizer.search.report import measurements_needed
from optimizer.search.report_rows import ReportItem
from optimizer.search.study_report import study_report
from optimizer.search.texts import choose_texts, prepare_text
from optimizer.search.trial_findings import TOKENS_BEFORE_TRIALS, WIDER, honesty_of
from optimizer.store import TrialRecord
from tests.search.searches import Search, prepare

SHORT = {"evaluation__chunks": 4, "evaluation__probe_chunks": 2}


def trial(number: int, kld: float | None, size_bytes: int, **more: Any) -> TrialRecord:
    values: dict[str, Any] = {
        "id": number, "study_id": 1, "number": number, "state": "complete", "origin": "mean", "name": None,
        "budget_bytes": size_bytes, "recipe_id": number, "size_bytes": size_bytes, "mean_kld": kld,
        "mean_kld_standard_error": None, "perplexity": None, "chunks_scored": 1, "tokens_spent": 10,
        "predicted_kld": None, "predicted_kld_standard_error": None, "params": {}, "layer_types": None, "metrics": None,
        "error": None, "attempts": 1,
        "started_at": 0.0, "finished_at": 1.0, "duration_seconds": 1.0,
    }  # fmt: skip
    return TrialRecord(**(values | more))


def test_a_smaller_budget_s_trial_may_win_a_larger_one() -> None:
    trials = [trial(0, 0.2, 100), trial(1, 0.3, 200, budget_bytes=200)]
    assert best_trial(trials, (), 200) == trials[0]
    assert best_trial(trials, (), 100) == trials[0]
    assert best_trial(trials, (), 99) is None


def test_a_larger_budget_s_trial_that_is_small_enough_may_win_a_smaller_one() -> None:
    trials = [trial(0, 0.2, 100, budget_bytes=100), trial(1, 0.1, 90, budget_bytes=200)]
    assert best_trial(trials, (), 100) == trials[1]


def test_honesty_counts_the_search_s_own_complete_trials_alone() -> None:
    errors = [0.04, 0.02, 0.04, 0.02]  # the measured figures lie one to two and a half of them away
    own = [
        trial(n, 0.1 * (n + 1), 100, predicted_kld=0.05 * (n + 1), predicted_kld_standard_error=error * (n + 1))
        for n, error in enumerate(errors)
    ]
    others = [
        trial(5, 9.0, 100, name="Q4_0", predicted_kld=0.1),
        trial(6, 9.0, 100, state="pruned", predicted_kld=0.1),
        trial(7, 9.0, 100),
    ]
    found = honesty_of([*own, *others])
    assert found.pairs == 4
    assert found.spearman == pytest.approx(1.0)
    assert found.median_ratio == pytest.approx(2.0)
    assert found.spread == pytest.approx(0.0, abs=1e-9)
    assert found.covered == 0.5


@pytest.mark.parametrize(
    ("klds", "measured"),
    [([0.1, 0.05], 1), ([0.3, 0.1, 0.05], 2), ([0.3, 0.3, 0.3], 3), ([None, 0.1], 2), ([0.2, 0.1], 2)],
)
def test_presets_above_are_measured_until_one_loses_less(klds: list[float | None], measured: int) -> None:
    asked: list[str] = []

    def measure(item: ReportItem) -> float | None:
        asked.append(item.name)
        return klds[int(item.name)]

    climb([ReportItem(str(i), PRESET, Recipe({}), 100 + i) for i in range(len(klds))], 0.2, measure)
    assert len(asked) == measured


@contextmanager
def reporting(search: Search, **options: Any) -> Iterator[Any]:
    """Calls `study_report` on a finished study, with a fresh evaluator; yields its object."""
    plan = search.plan
    with search.workplace.open_store() as store:
        study = store.find_study(search.name)
        assert study is not None
        evaluators: list[FakeEvaluator] = []

        def make(settings: Any) -> FakeEvaluator:
            evaluators.append(FakeEvaluator(settings, **options))
            return evaluators[0]

        model, reporter = store.model(study.model_id), SilentReporter()
        with open_bench(plan, search.workplace, store, model, reporter, make) as bench:
            chunks = plan.config.evaluation.chunks
            choice = choose_texts(plan.config)[1]
            text = prepare_text(bench, choice, chunks)
            budget = plan.budgets[0]
            hints = keep_form([Hint(budget.text, budget.n_bytes, "2 % more bytes", 0.9, 0.0)])
            progress = {WIDER: hints, TOKENS_BEFORE_TRIALS: 1000}
            steps: list[str] = []
            measurer = bench.measurer(None, text, reporter)
            found = study_report(plan, store, study, measurer, progress, steps.append)
            assert len(steps) <= measurements_needed(plan)
            yield found


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("several")
    few = {"baselines__variants": False, "baselines__hybrids": False, "types": "Q2_K,Q3_K_M,Q4_K_M,Q6_K"}
    search = Search(folder, prepare(folder, budget="Q3_K_M,Q4_K_M", units="layers", trials=12, **(SHORT | few)))
    assert search.run().finished
    with reporting(search) as found:
        yield found


def test_several_budgets_have_a_front(several: dict[str, Any]) -> None:
    front = several["front"]
    assert [point["budget"] for point in front["points"]] == ["Q3_K_M", "Q4_K_M"]
    assert front["monotone"]
    assert front["hypervolume"] > 0
    largest = several["fronts"][1]["budget_bytes"]
    assert front["reference"]["size_bytes"] == largest
    curve = front["search_hypervolume_over_tokens"]
    assert curve[0] == {"tokens": 1000, "hypervolume": 0.0}
    assert curve[-1]["hypervolume"] > 0
    assert several["tokens_before_trials"] == 1000


def test_every_budget_says_what_is_left_and_what_it_cost(several: dict[str, Any]) -> None:
    for each in several["fronts"]:
        assert each["leftover_bytes"] == each["budget_bytes"] - each["best"]["size_bytes"] >= 0
        assert each["leftover_share"] == pytest.approx(each["leftover_bytes"] / each["budget_bytes"])
        assert each["trial_tokens"] > 0
    assert [hint["change"] for hint in several["fronts"][0]["wider"]] == ["2 % more bytes"]
    assert several["fronts"][1]["wider"] == []
    assert several["wider"] == several["fronts"][0]["wider"]


def test_honesty_shows_its_trials(several: dict[str, Any]) -> None:
    honesty = several["honesty"]
    assert honesty["pairs"] == len(honesty["trials"]) > 0
    assert all(each["predicted_kld"] > 0 and each["mean_kld"] > 0 for each in honesty["trials"])
    assert all(each["predicted_kld_standard_error"] > 0 for each in honesty["trials"])
    assert honesty["covered"] is not None


def test_a_bad_preset_just_above_does_not_end_the_ladder(tmp_path: Path) -> None:
    """IQ4_NL, next above IQ4_XS, is made the worst of all: Q4_K_S is measured too, and both figures are bracketed."""
    types = "Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS"
    plan = prepare(tmp_path, budget="IQ4_XS", types=types, trials=3, sampler="random", **SHORT)
    everything, allowed = presets_above(plan, plan.budgets[0])
    assert [item.name for item in everything][:2] == ["IQ4_NL", "Q4_K_S"]
    assert len(everything) == MAX_ABOVE
    assert "IQ4_NL" in [item.name for item in allowed]
    table = {(name, "IQ4_NL"): 1.0 for name in plan.parameters}
    options = {"damage": damage_of_tensors(table)}
    search = Search(tmp_path, plan, **options)
    assert search.run().finished
    with reporting(search, **options) as found:
        rows = {row["name"]: row["mean_kld"] for row in found["baselines"]}
        assert rows["IQ4_NL"] > 1
        assert rows["Q4_K_S"] < rows["Q3_K_M"]
        assert not found["extrapolated"]
        assert not found["extrapolated_allowed"]
        assert found["front"] is None
