"""Several evaluators at a time: the same trials in rounds, and what happens when workers end, differ or fill up."""

from pathlib import Path
from typing import Any

import pytest

from evaluators.fake import FakeEvaluator
from optimizer.errors import EngineError, StorageError
from optimizer.execution.jobs import ScoreJob
from optimizer.execution.local import LocalExecutor
from optimizer.search.identity import ENGINE
from tests.execution.searches import BlindExecutor, MortalExecutor, OtherBuild, WorkersSearch
from tests.search.searches import prepare, write_imatrix

SMALL: dict[str, Any] = {"trials": 16, "evaluation__chunks": 8, "evaluation__threads": 1}


def search(folder: Path, **changes: Any) -> WorkersSearch:
    folder.mkdir(exist_ok=True)
    return WorkersSearch(folder, prepare(folder, **{**SMALL, **changes}))


def test_in_rounds_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    found = []
    for workers in (1, 2, 3):
        each = search(tmp_path / str(workers), execution__round=3, trials=20)
        assert each.run_with(workers).finished
        found.append(each.trials())
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 20


@pytest.mark.parametrize("dies_at", [70, 77, 83])
def test_in_rounds_a_killed_search_ends_as_if_it_was_left_alone(tmp_path: Path, dies_at: int) -> None:
    whole = search(tmp_path / "whole", execution__round=4, trials=22)
    whole.run()
    killed = search(tmp_path / "killed", execution__round=4, trials=22)
    with pytest.raises(SystemExit):
        killed.run(dies_at=dies_at)
    assert killed.run_with(2).finished
    assert killed.trials() == whole.trials()


def test_rounds_go_on_where_fewer_trials_ended(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole", execution__round=4, trials=21)
    whole.run()
    first = search(tmp_path / "first", execution__round=4, trials=18)
    first.run()
    first.run(plan=prepare(tmp_path / "first", **{**SMALL, "execution__round": 4, "trials": 21}))
    assert first.trials() == whole.trials()


def test_without_rounds_no_trial_is_made_twice(tmp_path: Path) -> None:
    each = search(tmp_path, trials=24)
    assert each.run_with(3).finished
    trials = each.trials()
    assert [trial[0] for trial in trials] == list(range(24))
    baselines = len(each.plan.baselines[each.plan.budgets[0]])
    recipes = [tuple(sorted(trial[5].items())) for trial in trials[baselines:]]
    assert len(set(recipes)) == len(recipes)
    assert len(each.runs) == 3


def test_one_worker_without_rounds_is_the_plain_search(tmp_path: Path) -> None:
    plain, one = search(tmp_path / "plain"), search(tmp_path / "one")
    plain.run()
    assert one.run_on(LocalExecutor(one.nodes(one.make))).finished
    assert one.trials() == plain.trials()


def test_a_recipe_that_ends_three_workers_is_given_up_and_the_search_goes_on(tmp_path: Path) -> None:
    each = search(tmp_path)
    baseline = each.plan.baselines[each.plan.budgets[0]][1].recipe
    executor = MortalExecutor(
        each.nodes(each.make, each.make), lambda job: isinstance(job, ScoreJob) and job.recipe == baseline
    )
    assert each.run_on(executor).finished
    assert executor.deaths == 3
    failed = [trial for trial in each.records() if trial.state == "failed"]
    assert len(failed) == 1
    assert "3 workers ended with it" in (failed[0].error or "")
    assert sum(trial.state != "failed" for trial in each.records()) == 16


def test_work_of_a_worker_that_ends_goes_to_another(tmp_path: Path) -> None:
    each, lost = search(tmp_path), []

    def fatal(job: object) -> bool:
        if isinstance(job, ScoreJob) and len(lost) < 2:
            lost.append(job)
            return True
        return False

    assert each.run_on(MortalExecutor(each.nodes(each.make, each.make), fatal)).finished
    assert len(lost) == 2
    assert all(trial.state != "failed" for trial in each.records())


def test_a_worker_of_another_build_is_left_out(tmp_path: Path) -> None:
    each = search(tmp_path)
    others: list[OtherBuild] = []

    def other(settings: Any) -> OtherBuild:
        others.append(OtherBuild(settings))
        return others[-1]

    assert each.run_on(LocalExecutor(each.nodes(each.make, other, each.make))).finished
    assert not any(evaluator.scored for evaluator in others)
    assert sum(bool(run.scored) for run in each.runs) == 2
    assert sum("its engine is another" in line for line in each.reporter.lines) == 1


def test_a_study_keeps_its_engine_and_says_which_there_are(tmp_path: Path) -> None:
    each = search(tmp_path, trials=12)
    assert each.run_on(LocalExecutor(each.nodes(each.make))).finished
    with each.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        assert (study.progress or {})[ENGINE] == FakeEvaluator().engine().identity
    more = prepare(tmp_path, **{**SMALL, "trials": 14})
    with pytest.raises(EngineError, match=r"not the one that the study began with: fake 2"):
        each.run_on(LocalExecutor(each.nodes(OtherBuild)), more)


def test_a_worker_with_a_full_disk_is_left_out_and_alone_it_ends_the_search(tmp_path: Path) -> None:
    class Full(FakeEvaluator):
        def score(self, *arguments: Any, **options: Any) -> Any:
            raise StorageError("disk too small for 3 shards")

    each = search(tmp_path, trials=12)
    assert each.run_on(LocalExecutor(each.nodes(Full, each.make))).finished
    assert sum("disk too small" in line for line in each.reporter.lines) == 1
    alone = search(tmp_path / "alone", trials=12)
    with pytest.raises(EngineError, match=r"no worker can go on.*disk too small"):
        alone.run_on(LocalExecutor(alone.nodes(Full)))


def test_machines_that_share_nothing_get_texts_and_imatrix_sent(tmp_path: Path) -> None:
    plain = search(tmp_path / "plain", trials=12)
    imatrix = str(write_imatrix(tmp_path / "imatrix.dat", plain.plan.model))
    plain = search(tmp_path / "plain", trials=12, imatrix=imatrix)
    plain.run()
    each = search(tmp_path / "sent", trials=12, imatrix=imatrix, execution__round=2)
    assert each.run_on(BlindExecutor(each.nodes(each.make, each.make))).finished
    assert len(each.trials()) == 12
    assert [trial[4] for trial in each.trials()][:5] == [trial[4] for trial in plain.trials()][:5]
    assert len(list((tmp_path / "sent" / "node-0" / "files").iterdir())) == 3  # two texts and the imatrix


def test_stopped_it_pauses_and_goes_on(tmp_path: Path) -> None:
    each = search(tmp_path)
    assert not each.run_with(2, interrupted=[True]).finished
    assert each.run_with(2).finished
    assert len(each.trials()) == 16
