"""Trials that Optuna would show as running for ever: none is left after the next start."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from optimizer.store import Store
from optimizer.tracking import OptunaMirror
from tests.reliability.processes import KILLED, Fault, run
from tests.reliability.states import NAME, end_state
from tests.store.studies import Fixture, new_study


def _copy(study: Fixture) -> optuna.Study:
    mirror = OptunaMirror(study.store, study.study_id, {"blk.0": ["Q3_K", "Q4_K"]})
    assert mirror.catch_up(60) == 0
    mirror.stop()
    assert mirror.last_error is None
    return optuna.load_study(study_name=NAME, storage=mirror.storage_url)


def test_a_running_trial_in_the_copy_is_reconciled_at_start(place: Path) -> None:
    with Store.open(place) as store:
        study = new_study(store, NAME)
        study.finish(study.start(), 0.5)
        copy = _copy(study)
        copy.ask()
        assert [trial.state for trial in copy.trials] == [TrialState.COMPLETE, TrialState.RUNNING]
        study.finish(study.start(), 0.4)
        again = _copy(study)
        assert [(trial.state, trial.value) for trial in again.trials] == [
            (TrialState.COMPLETE, 0.5),
            (TrialState.COMPLETE, 0.4),
        ]


@pytest.mark.long
def test_a_search_killed_while_it_copies(config: Path, left_alone: dict[str, Any], place: Path) -> None:
    options = ["search", config, "--set", "tracking.optuna=true", "--studies", place]
    storage = "optuna.storages._rdb.storage:RDBStorage"
    for fault in (Fault(f"{storage}.create_new_trial", 2), Fault(f"{storage}._set_trial_attr_without_commit", 3)):
        command = run(options, place / "log", fault)
        assert command.process.exitcode == KILLED, command.output
    command = run(options, place / "log")
    assert command.process.exitcode == 0, command.output
    assert end_state(place) == left_alone
    trials = optuna.load_study(study_name=NAME, storage=RDBStorage(f"sqlite:///{place / 'optuna.db'}")).trials
    assert [trial.number for trial in trials] == [trial[0] for trial in left_alone["trials"]]
    assert TrialState.RUNNING not in {trial.state for trial in trials}
