"""A search from plan to report: what it promises whatever happens on the way."""

from pathlib import Path
from typing import Any

import pytest

from evaluators.errors import TextError
from optimizer.commands.studies import finished_study
from optimizer.errors import BudgetError, ConfigError, StudyError
from optimizer.search.baselines import PRESET
from optimizer.store import StudyHeld
from tests.search.searches import FailingShards, Search, prepare, write_imatrix

REPORT_KEYS = {
    "budget_bytes", "best", "baselines", "interpolated_preset_kld", "interpolated_allowed_preset_kld", "extrapolated",
    "noise_floor_kld",
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Search:
    folder = tmp_path_factory.mktemp("search")
    search = Search(folder, prepare(folder))
    assert search.run().finished
    return search


def test_the_winner_beats_every_preset_that_fits(finished: Search) -> None:
    report = finished.run().study.report
    assert report is not None
    assert set(report) >= REPORT_KEYS
    rivals = [row["mean_kld"] for row in report["baselines"] if row["kind"] == PRESET and row["fits"]]
    assert rivals
    assert report["best"]["mean_kld"] < min(rivals)
    assert report["best"]["size_bytes"] <= report["budget_bytes"]
    assert not report["extrapolated"]
    assert report["interpolated_preset_kld"] > report["best"]["mean_kld"]


def test_no_trial_exceeds_the_budget_and_none_repeats_another(finished: Search) -> None:
    trials = finished.trials()
    budget = finished.plan.budgets[0].n_bytes
    assert len(trials) == 24
    assert [trial[0] for trial in trials] == list(range(24))
    assert max(trial[3] for trial in trials) <= budget
    recipes = [tuple(sorted(trial[5].items())) for trial in trials]
    assert len(set(recipes[len(finished.plan.baselines[finished.plan.budgets[0]]) :])) == 24 - len(
        finished.plan.baselines[finished.plan.budgets[0]]
    )


def test_a_finished_study_evaluates_nothing(finished: Search) -> None:
    before = finished.scored
    assert finished.run().finished
    assert finished.scored == before


def test_larger_number_of_trials_continues(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=16))
    search.run()
    first = search.trials()
    search.run(plan=prepare(tmp_path, trials=20))
    assert search.trials()[:16] == first
    assert len(search.trials()) == 20


@pytest.mark.parametrize("dies_at", [3, 18, 44, 61])
def test_killed_anywhere_it_continues_and_ends_the_same(tmp_path: Path, finished: Search, dies_at: int) -> None:
    """Evaluations done are never done again, and the trials are those of a search that was left alone."""
    search = Search(tmp_path, prepare(tmp_path))
    with pytest.raises(SystemExit):
        search.run(dies_at=dies_at)
    outcome = search.run()
    assert outcome.finished
    assert search.trials() == finished.trials()
    noise_again = 4 if 0 < dies_at < 4 else 0  # the noise floor is one measurement, kept when it is complete
    assert search.scored <= finished.scored + noise_again


def test_changed_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=12))
    search.run()
    with pytest.raises(ConfigError, match=r"evaluation\.chunks: 16 -> 8"):
        search.run(plan=prepare(tmp_path, trials=12, evaluation__chunks=8))


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=12))
    with pytest.raises(SystemExit):
        search.run(dies_at=10)
    with search.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        store.acquire_lease(study.id)
        with pytest.raises(StudyHeld, match="layerquant stop study"):
            search.run()


def test_a_crash_fails_a_trial_and_not_the_night(tmp_path: Path) -> None:
    """The shard of one tensor at Q2_K ends llama.cpp: what uses it fails, everything else goes on."""
    plan = prepare(tmp_path, trials=16)
    search = Search(tmp_path, plan, failures=FailingShards("blk.1.attn_q.", "Q2_K"))
    assert search.run().finished
    failed = [trial for trial in search.trials() if trial[1] == "failed"]
    assert {trial[5]["blk.1.attn_qk"] for trial in failed} == {"Q2_K"}
    assert sum(trial[1] != "failed" for trial in search.trials()) == 16
    assert any("its part is protected" in line for line in search.reporter.lines)


def test_texts_must_differ(tmp_path: Path) -> None:
    plan = prepare(tmp_path)
    same = prepare(tmp_path, report_text=str(tmp_path / "search.txt"))
    with pytest.raises(ConfigError, match="same"):
        Search(tmp_path, plan).run(plan=same)


def test_impossible_budgets_print_the_range(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="is below what these types can make"):
        prepare(tmp_path, budget="100kB")
    with pytest.raises(BudgetError, match="is above what these types can make"):
        prepare(tmp_path, budget="1GB")


def test_several_budgets_share_probes_and_are_monotone(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, budget="Q3_K_M,IQ4_XS,Q4_K_M", trials=14))
    report = search.run().study.report
    assert report is not None
    fronts = report["fronts"]
    assert [front["budget"] for front in fronts] == ["Q3_K_M", "IQ4_XS", "Q4_K_M"]
    found = [front["best"]["search_mean_kld"] for front in fronts]
    assert found == sorted(found, reverse=True)


def test_stopped_by_ctrl_c_it_pauses_and_keeps_everything(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=12))
    with pytest.raises(SystemExit):
        search.run(dies_at=20)
    outcome = search.run(interrupted=[True])
    assert not outcome.finished
    assert outcome.study.state == "paused"
    assert search.run().finished


class StopsAfter(list[bool]):
    """The flag of Ctrl-C, set once it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__([False])
        self._looks = looks

    def __getitem__(self, index: Any) -> Any:
        self._looks -= 1
        return self._looks < 0


def test_stopped_among_the_trials_none_is_left_half_done(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path))
    assert not search.run(interrupted=StopsAfter(40)).finished
    assert len(search.trials()) > 2
    assert {trial[1] for trial in search.trials()} <= {"complete", "pruned"}


def test_a_missing_study_names_those_that_are_there(finished: Search) -> None:
    with finished.workplace.open_store() as store, pytest.raises(StudyError, match="studies here: study"):
        finished_study(store, "stdy")


def test_interrupted_in_the_second_budget_nothing_stays_running(tmp_path: Path) -> None:
    plan = prepare(tmp_path, budget="Q3_K_M,IQ4_XS", trials=13)
    search = Search(tmp_path, plan)
    with pytest.raises(SystemExit):
        search.run(dies_at=48)
    assert [trial[1] for trial in search.trials()].count("running") == 1
    assert len(search.trials()) > 13  # the first budget's are all there
    assert search.run().finished
    assert {trial[1] for trial in search.trials()} <= {"complete", "pruned"}
    assert len(search.trials()) == 26


def test_hours_end_a_study_for_the_same_command(tmp_path: Path) -> None:
    search = Search(tmp_path, prepare(tmp_path, trials=40, hours=1e-9))
    assert search.run().finished
    counted, scored = len(search.trials()), search.scored
    assert counted < 40
    assert search.run().finished
    assert (len(search.trials()), search.scored) == (counted, scored)
    search.run(plan=prepare(tmp_path, trials=40, hours=1.0))
    assert len(search.trials()) == 40


def test_settings_may_be_corrected_until_there_are_trials(tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("x")
    search = Search(tmp_path, prepare(tmp_path, trials=12))
    with pytest.raises(TextError):
        search.run(plan=prepare(tmp_path, trials=12, search_text=str(tmp_path / "short.txt")))
    assert search.run().finished


def test_an_imatrix_is_part_of_every_result(tmp_path: Path) -> None:
    """The same recipes with other importance are other tensors: nothing is taken from the search without it."""
    without = Search(tmp_path, prepare(tmp_path, trials=12))
    without.run()
    imatrix = write_imatrix(tmp_path / "imatrix.dat", without.plan.model)
    plan = prepare(tmp_path, trials=12, imatrix=str(imatrix), types="IQ2_XS,Q3_K,Q4_K,Q6_K", study="other")
    search = Search(tmp_path, plan)
    search.name = "other"
    assert search.run().finished
    assert search.scored > 40
    outside = [unit for unit in plan.space.units if not unit.name.startswith("blk.")]
    allowed = {option.name for unit in outside for option in unit.options if option.allowed}
    assert "IQ2_XS" not in allowed
    assert "IQ2_XS" in {name for baseline in plan.baselines[plan.budgets[0]] for name in (baseline.name,)}


def test_types_that_are_not_allowed_never_win(tmp_path: Path) -> None:
    """By layers with Q2_K alone beside Q3_K_S, IQ4_XS is better and fits; it is shown, and does not win."""
    search = Search(tmp_path, prepare(tmp_path, units="layers", trials=16, types="Q2_K,Q3_K_S,Q3_K_M,Q4_K_S"))
    report = search.run().study.report
    assert report is not None
    assert "IQ4_XS" in search.plan.rivals_only
    assert report["best"]["name"] not in search.plan.rivals_only
    assert "IQ4_XS" in [row["name"] for row in report["baselines"]]
