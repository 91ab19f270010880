"""Optuna's copy holds our trials under our numbers, and is made anew when it does not."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from optimizer.store import Store, TrialOutcome
from optimizer.tracking import OptunaMirror
from tests.store.studies import Fixture, new_study

OPTIONS = {"blk.0": ["Q3_K", "Q4_K"], "blk.1": ["Q3_K", "Q4_K"]}

TRIAL_TABLES = ("trials", "trial_params", "trial_values", "trial_user_attributes", "trial_intermediate_values")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Optuna takes a second to make one."""
    path = tmp_path_factory.mktemp("optuna") / "optuna.db"
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    storage.remove_session()
    storage.engine.dispose()
    return path


@pytest.fixture
def study(tmp_path: Path, empty_database: Path) -> Iterator[Fixture]:
    shutil.copy(empty_database, tmp_path)
    with Store.open(tmp_path) as store:
        yield new_study(store)


def _params(first: str = "Q4_K") -> dict[str, str]:
    return {"blk.0": first, "blk.1": "Q3_K"}


def _copy(study: Fixture) -> optuna.Study:
    mirror = OptunaMirror(study.store, study.study_id, OPTIONS)
    assert mirror.catch_up(30) == 0
    mirror.stop()
    assert mirror.last_error is None
    return optuna.load_study(study_name="night", storage=mirror.storage_url)


def _numbers(copy: optuna.Study) -> list[tuple[int, float | None]]:
    return [(trial.number, trial.value) for trial in copy.trials]


def test_trials_are_copied_under_their_numbers(study: Fixture) -> None:
    study.finish(study.start(params=_params()), 0.5)
    pruned = study.start(params=_params("Q3_K"))
    study.store.finish_trial(study.lease, pruned.id, TrialOutcome("pruned", mean_kld=0.9, chunks_scored=2))
    study.store.finish_trial(study.lease, study.start(params=_params()).id, TrialOutcome("failed", error="x"))
    copy = _copy(study)
    assert [trial.state for trial in copy.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert copy.trials[0].params == _params()
    assert copy.trials[0].distributions["blk.0"].choices == ("Q3_K", "Q4_K")
    assert copy.trials[1].intermediate_values == {2: 0.9}
    assert copy.best_trial.value == 0.5
    assert copy.direction == optuna.study.StudyDirection.MINIMIZE


def test_only_trials_before_the_first_running_one_are_copied(study: Fixture) -> None:
    study.finish(study.start(params=_params()), 0.5)
    running = study.start(params=_params())
    study.finish(study.start(params=_params()), 0.3)
    assert _numbers(_copy(study)) == [(0, 0.5)]
    study.finish(running, 0.4)
    assert _numbers(_copy(study)) == [(0, 0.5), (1, 0.4), (2, 0.3)]


def test_a_copy_is_continued_not_made_again(study: Fixture) -> None:
    study.finish(study.start(params=_params()), 0.5)
    first = _copy(study)._study_id
    study.finish(study.start(params=_params()), 0.4)
    second = _copy(study)
    assert second._study_id == first
    assert len(second.trials) == 2


@pytest.mark.parametrize(
    "damage",
    [
        "; ".join(f"DELETE FROM {table} WHERE trial_id = 2" for table in TRIAL_TABLES),
        'UPDATE study_user_attributes SET value_json = \'{"trials": 2, "digest": ""}\'',
        "INSERT INTO trials (number, study_id, state) VALUES (2, 1, 'COMPLETE')",
        "UPDATE studies SET study_name = 'another'",
    ],
    ids=["a trial is missing", "the trials were others", "a trial too many", "no such study"],
)
def test_a_copy_that_differs_is_made_anew(study: Fixture, damage: str) -> None:
    for kld in (0.5, 0.4):
        study.finish(study.start(params=_params()), kld)
    _copy(study)
    connection = sqlite3.connect(_file(study))
    with connection:
        connection.executescript(damage)
    connection.close()
    assert _numbers(_copy(study)) == [(0, 0.5), (1, 0.4)]


def test_a_deleted_file_is_made_anew(study: Fixture) -> None:
    study.finish(study.start(params=_params()), 0.5)
    _copy(study)
    _file(study).unlink()
    assert _numbers(_copy(study)) == [(0, 0.5)]


def test_killed_between_a_trial_and_its_mark(study: Fixture) -> None:
    """The copy is ahead of its mark: the trials beyond are looked at, and kept when they are ours."""
    study.finish(study.start(params=_params()), 0.5)
    copy = _copy(study)
    marked = copy.user_attrs
    study.finish(study.start(params=_params("Q3_K")), 0.4)
    first = _copy(study)
    for key, value in marked.items():
        first.set_user_attr(key, value)
    again = _copy(study)
    assert again._study_id == copy._study_id
    assert _numbers(again) == [(0, 0.5), (1, 0.4)]
    connection = sqlite3.connect(_file(study))
    with connection:
        connection.execute("UPDATE trial_values SET value = 7 WHERE value = 0.4")
    connection.close()
    for key, value in marked.items():
        again.set_user_attr(key, value)
    assert _numbers(_copy(study)) == [(0, 0.5), (1, 0.4)]


def test_an_option_nobody_announced(study: Fixture) -> None:
    """A baseline may have a type that the search itself may not propose."""
    mirror = OptunaMirror(study.store, study.study_id, OPTIONS)
    study.finish(study.start(params=_params()), 0.5)
    assert mirror.catch_up(30) == 0
    study.finish(study.start(params=_params("IQ4_XS")), 0.4)
    assert mirror.catch_up(30) == 0
    mirror.stop()
    copy = optuna.load_study(study_name="night", storage=mirror.storage_url)
    assert _numbers(copy) == [(0, 0.5), (1, 0.4)]
    assert copy.trials[0].distributions["blk.0"].choices == ("Q3_K", "Q4_K", "IQ4_XS")


def _file(study: Fixture) -> Path:
    assert study.store.folder is not None
    return study.store.folder / "optuna.db"
