"""`status`, `trials` and `report` of a study that is already there: what they say besides their tables."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from optimizer.cli import run
from optimizer.search.at_work import AT_WORK
from optimizer.search.hints import Hint, keep_form
from optimizer.search.trial_findings import WIDER
from optimizer.store import TrialOutcome
from optimizer.workplace import Workplace
from tests.export import reports
from tests.store.studies import new_study

Show = Callable[..., str]


def shown_report() -> dict[str, Any]:
    """Two budgets, with all that `layerquant report` shows."""
    objects = []
    for number, budget in enumerate((4_000_000, 5_000_000)):
        each = reports.front(budget, budget=f"budget-{number}", wider=reports.WIDER, leftover_bytes=100)
        each["best"] |= {"name": None, "trial": 0}
        each["leftover_share"] = 100 / budget
        for row in each["baselines"]:
            row["fits"] = row["size_bytes"] <= budget
        objects.append(each)
    return reports.report(
        fronts=objects, tokens_evaluated=123_456, tokens_before_trials=1_000, study="night", **reports.FINDINGS
    )


@pytest.fixture
def show(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Show:
    """Runs a command on the study `night` of four own trials and a baseline; returns its standard output."""
    folder = tmp_path / "studies"
    folder.mkdir()
    with Workplace(folder).open_store() as store:
        study = new_study(store)
        for number in range(4):
            predicted = 0.1 * (number + 1)
            trial = study.start(predicted_kld=predicted)
            outcome = TrialOutcome("complete", mean_kld=2 * predicted, tokens_spent=1_536)
            store.finish_trial(study.lease, trial.id, outcome)
        study.finish(study.start(name="Q4_0", origin="preset:Q4_0", predicted_kld=0.1), 9.0)
        hints = [Hint("IQ4_XS", 100, "decide by groups", 0.8, 0.0), Hint("IQ4_XS", 100, "2 % more bytes", 0.9, 0.0)]
        store.update_study(study.lease, progress={WIDER: keep_form(hints)}, report=shown_report(), state="finished")
        store.release_lease(study.lease)

    def call(command: str, *options: str) -> str:
        capfd.readouterr()
        assert run([command, "night", "--studies", str(folder), *options]) == 0
        return capfd.readouterr().out

    return call


def test_status_says_how_good_its_forecasts_are(show: Show) -> None:
    seen = json.loads(show("status", "--json"))
    assert seen["honesty"]["pairs"] == 4
    assert seen["honesty"]["spearman"] == pytest.approx(1.0)
    assert seen["honesty"]["median_ratio"] == pytest.approx(2.0)
    assert [hint["expected_ratio"] for hint in seen["wider"]] == [0.8, 0.9]
    text = show("status")
    assert "measured / predicted 2.00" in text
    assert "decide by groups: 0.80 x" in text
    assert "2 % more bytes" not in text  # the best hint alone


def test_status_says_how_many_evaluators_are_at_work_while_it_runs(show: Show, tmp_path: Path) -> None:
    assert json.loads(show("status", "--json"))["at_work"] is None
    found = {"evaluators": 16, "machines": 3}
    with Workplace(tmp_path / "studies").open_store() as store:
        record = store.find_study("night")
        assert record is not None
        lease = store.acquire_lease(record.id, 60)
        store.update_study(lease, state="running", progress={AT_WORK: found})
        assert json.loads(show("status", "--json"))["at_work"] == found
        assert "16 evaluators on 3 machines" in show("status")
        store.release_lease(lease)
    assert json.loads(show("status", "--json"))["at_work"] is None
    assert "evaluators" not in show("status")


def test_trials_show_tokens(show: Show) -> None:
    assert "1,536" in show("trials")
    assert "6,144 by these trials" in show("trials")
    assert [each["tokens_spent"] for each in json.loads(show("trials", "--json"))["trials"]] == [1536] * 4 + [0]


def test_report_shows_what_the_study_found(show: Show) -> None:
    text = " ".join(show("report").split())
    assert "front on report text: Q3_K_M: trial 4, 3,999,900 bytes, KLD 0.020000 ± 0.001000" in text
    assert "KLD 0.030000 ± 0.001000, not on the front" in text
    assert "loses 50.0 % more <b>" in text
    assert "100 bytes of the budget are left (0.002 %)" in text
    assert "decide by groups: 0.80 x the KLD expected (0.70 to 0.90, error assumed); why <i>" in text
    assert "rank correlation 0.50, measured / predicted 1.10 (median), spread 4.2 %, over 3 trials" in text
    assert "tokens evaluated: 123,456, of which 1,000 before the first trial" in text


def test_report_of_an_older_version_is_still_shown(show: Show, tmp_path: Path) -> None:
    old = shown_report()
    for key in ("honesty", "front", "tokens_evaluated", "tokens_before_trials"):
        del old[key]
    for each in old["fronts"]:
        for key in ("wider", "leftover_bytes", "leftover_share"):
            del each[key]
    with Workplace(tmp_path / "studies").open_store() as store:
        record = store.find_study("night")
        assert record is not None
        store.update_study(store.acquire_lease(record.id, 60), report=old)
    assert "forecasts" not in show("report")
    assert "noise floor" in show("report")
