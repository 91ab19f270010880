"""Several evaluators at a time: the same trials in rounds, and what happens when workers end, differ or fill up."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from evaluators.fake import FakeEvaluator
from optimizer.errors import EngineError, StorageError
from optimizer.execution.executor import Role, Task
from optimizer.execution.jobs import ScoreJob
from optimizer.execution.local import LocalExecutor
from optimizer.execution.problems import ClusterAway
from optimizer.search.at_work import AtWork
from optimizer.search.identity import ENGINE
from tests.execution.searches import BlindExecutor, MortalExecutor, OtherBuild, SlowFake, WorkersSearch
from tests.search.searches import write_imatrix

Make = Callable[..., WorkersSearch]
ROUNDS: dict[str, Any] = {"trials": 21, "execution__round": 4}


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bank")


@pytest.fixture
def make(tmp_path: Path, bank: Path) -> Make:
    """A search in a folder of that name, of 12 trials unless other settings are given."""
    return lambda name="search", **changes: WorkersSearch(tmp_path / name, bank, **{"trials": 12, **changes})


@pytest.fixture(scope="module")
def in_rounds(tmp_path_factory: pytest.TempPathFactory, bank: Path) -> WorkersSearch:
    """One evaluator, rounds of 4."""
    search = WorkersSearch(tmp_path_factory.mktemp("rounds"), bank, **ROUNDS)
    assert search.run().finished
    return search


def test_in_rounds_the_number_of_workers_changes_nothing(make: Make, in_rounds: WorkersSearch) -> None:
    each = make(**ROUNDS)
    assert each.run_with(3).finished
    assert each.trials() == in_rounds.trials()
    assert len(each.trials()) == ROUNDS["trials"]


def test_a_study_knows_how_many_evaluators_it_has(make: Make, in_rounds: WorkersSearch) -> None:
    assert AtWork.of(in_rounds.run().study.progress) == AtWork(1, 1)
    several = make(trials=6)
    progress = several.run_with(3).study.progress
    assert AtWork.of(progress) == AtWork(3, 1)
    assert ENGINE in (progress or {})


@pytest.mark.long
def test_with_rounds_a_baseline_races_those_before_it(make: Make) -> None:
    """It begins when they have ended, whatever the number of workers: its rival is who leads then."""
    each = make(trials=5, execution__round=4)
    assert each.run_on(LocalExecutor(each.nodes(*[SlowFake] * 4))).finished
    baselines = [trial for trial in each.records() if trial.name is not None]
    assert len(baselines) == 5
    for before, after in pairwise(baselines):
        assert before.finished_at is not None
        assert after.started_at >= before.finished_at


@pytest.mark.long
def test_without_rounds_no_evaluator_waits_for_the_last_baseline(make: Make) -> None:
    each = make(trials=16)
    assert each.run_on(LocalExecutor(each.nodes(*[SlowFake] * 4))).finished
    baselines = [trial for trial in each.records() if trial.name is not None]
    first = next(trial for trial in each.records() if trial.name is None)
    assert first.started_at < max(trial.finished_at or 0.0 for trial in baselines)


@pytest.mark.long
@pytest.mark.parametrize("before_the_end", [21, 17, 13])
def test_in_rounds_a_killed_search_ends_as_if_it_was_left_alone(
    make: Make, in_rounds: WorkersSearch, before_the_end: int
) -> None:
    """Killed so many evaluations before its end, which are those of the last rounds and of the report."""
    killed = make(**ROUNDS)
    with pytest.raises(SystemExit):
        killed.run(dies_at=in_rounds.scored - before_the_end)
    assert killed.run_with(2).finished
    assert killed.trials() == in_rounds.trials()


@pytest.mark.long
def test_rounds_go_on_where_fewer_trials_ended(make: Make, in_rounds: WorkersSearch) -> None:
    each = make(**{**ROUNDS, "trials": ROUNDS["trials"] - 3})
    each.run()
    each.run(plan=each.with_trials(ROUNDS["trials"]))
    assert each.trials() == in_rounds.trials()


def test_without_rounds_no_trial_is_made_twice(make: Make) -> None:
    each = make(trials=24)
    assert each.run_with(3).finished
    trials = each.trials()
    assert [trial[0] for trial in trials] == list(range(24))
    baselines = len(each.plan.baselines[each.plan.budgets[0]])
    recipes = [tuple(sorted(trial[5].items())) for trial in trials[baselines:]]
    assert len(set(recipes)) == len(recipes)
    assert len(each.runs) == 3


@pytest.mark.long
def test_one_worker_without_rounds_is_the_plain_search(make: Make) -> None:
    plain, one = make("plain"), make("one")
    plain.run()
    assert one.run_on(LocalExecutor(one.nodes(one.make))).finished
    assert one.trials() == plain.trials()


def test_a_recipe_that_ends_three_workers_is_given_up_and_the_search_goes_on(make: Make) -> None:
    each = make()
    baseline = each.plan.baselines[each.plan.budgets[0]][1].recipe
    executor = MortalExecutor(
        each.nodes(each.make, each.make), lambda job: isinstance(job, ScoreJob) and job.recipe == baseline
    )
    assert each.run_on(executor).finished
    assert executor.deaths == 3
    failed = [trial for trial in each.records() if trial.state == "failed"]
    assert len(failed) == 1
    assert "3 workers ended with it" in (failed[0].error or "")
    assert sum(trial.state != "failed" for trial in each.records()) == 12


def test_workers_that_end_while_they_come_back_to_their_scheduler_do_not_count(make: Make) -> None:
    """A worker leaves its lost scheduler more than once; the work it was given between is not what ended it."""
    each = make()
    baseline = each.plan.baselines[each.plan.budgets[0]][1].recipe

    class Restarting(MortalExecutor):
        was_away = answers = False

        def workers(self, role: Role) -> Mapping[str, str]:
            if self.was_away and not self.answers:
                raise ClusterAway("the scheduler does not answer")
            return super().workers(role)

        def reconnect(self) -> None:
            self.answers = True

        def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
            if not self.was_away and any(map(is_fatal, arguments)):
                self.was_away = True
                raise ClusterAway("it has forgotten the work")
            return super().submit(task, *arguments, worker=worker, role=role)

    def is_fatal(job: object) -> bool:
        return isinstance(job, ScoreJob) and job.recipe == baseline

    def is_fatal_six_times(job: object) -> bool:
        return is_fatal(job) and executor.deaths < 6

    executor = Restarting(each.nodes(each.make, each.make), is_fatal_six_times)
    assert each.run_on(executor).finished
    assert executor.deaths == 6
    assert all(trial.state != "failed" for trial in each.records())
    assert "the scheduler is back" in each.reporter.lines


@pytest.mark.long
def test_work_of_a_worker_that_ends_goes_to_another(make: Make) -> None:
    each, lost = make(), []

    def fatal(job: object) -> bool:
        if isinstance(job, ScoreJob) and len(lost) < 2:
            lost.append(job)
            return True
        return False

    assert each.run_on(MortalExecutor(each.nodes(each.make, each.make), fatal)).finished
    assert len(lost) == 2
    assert all(trial.state != "failed" for trial in each.records())


def test_a_worker_of_another_build_is_left_out(make: Make) -> None:
    each = make()
    others: list[OtherBuild] = []

    def other(settings: Any) -> OtherBuild:
        others.append(OtherBuild(settings))
        return others[-1]

    assert each.run_on(LocalExecutor(each.nodes(each.make, other, each.make))).finished
    assert not any(evaluator.scored for evaluator in others)
    assert sum(bool(run.scored) for run in each.runs) == 2
    assert sum("its engine is another" in line for line in each.reporter.lines) == 1


def test_a_study_keeps_its_engine_and_says_which_there_are(make: Make) -> None:
    each = make()
    assert each.run_on(LocalExecutor(each.nodes(each.make))).finished
    with each.workplace.open_store() as store:
        study = store.find_study("study")
        assert study is not None
        assert (study.progress or {})[ENGINE] == FakeEvaluator().engine().identity
    with pytest.raises(EngineError, match=r"not the one that the study began with: fake 2"):
        each.run_on(LocalExecutor(each.nodes(OtherBuild)), each.with_trials(14))


@pytest.mark.long
def test_a_worker_with_a_full_disk_is_left_out_and_alone_it_ends_the_search(make: Make) -> None:
    class Full(FakeEvaluator):
        def score(self, *arguments: Any, **options: Any) -> Any:
            raise StorageError("disk too small for 3 shards")

    each = make()
    assert each.run_on(LocalExecutor(each.nodes(Full, each.make))).finished
    assert sum("disk too small" in line for line in each.reporter.lines) == 1
    alone = make("alone")
    with pytest.raises(EngineError, match=r"no worker can go on.*disk too small"):
        alone.run_on(LocalExecutor(alone.nodes(Full)))


@pytest.mark.long
def test_machines_that_share_nothing_get_texts_and_imatrix_sent(make: Make, tmp_path: Path) -> None:
    imatrix = str(write_imatrix(tmp_path / "imatrix.dat", make("model").plan.model))
    plain, each = make("plain", imatrix=imatrix), make("sent", imatrix=imatrix)
    plain.run()
    assert each.run_on(BlindExecutor(each.nodes(each.make))).finished
    assert each.trials() == plain.trials()
    assert len(list((tmp_path / "sent" / "node-0" / "files").iterdir())) == 3  # two texts and the imatrix


@pytest.mark.long
def test_stopped_it_pauses_and_goes_on(make: Make) -> None:
    each = make()
    assert not each.run_with(2, interrupted=[True]).finished
    assert each.run_with(2).finished
    assert len(each.trials()) == 12
