"""What `status`, `trials --csv` and the reports read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from optimizer.errors import StudyError
from optimizer.store import NewEvent, Store
from tests.store.studies import Fixture, new_study


def test_status_of_a_new_study(store: Store, study: Fixture) -> None:
    status = store.status(study.study_id)
    assert (status.study, status.state, status.eta_seconds) == ("night", "created", None)
    assert status.trials == {"complete": 0, "pruned": 0, "failed": 0, "running": 0}


def test_a_killed_search_is_not_shown_as_running(store: Store, study: Fixture) -> None:
    store.update_study(study.lease, state="running", phase="search")
    assert store.status(study.study_id).state == "running"
    store.release_lease(study.lease)
    status = store.status(study.study_id)
    assert (status.state, status.holder, status.phase) == ("paused", None, "search")


def test_another_process_reads_while_one_writes(store: Store, study: Fixture) -> None:
    study.finish(study.start())
    with Store(store.url) as other, store.writing() as session:
        session.connection().exec_driver_sql("UPDATE trials SET mean_kld = 9")
        assert other.status(study.study_id).trials["complete"] == 1
        assert [trial.mean_kld for trial in other.trials(study.study_id)] == [0.5]


def test_eta_from_the_times_of_the_last_trials(store: Store, study: Fixture) -> None:
    for _ in range(3):
        study.finish(study.start())
    _set_durations(store, 10.0)
    store.update_study(study.lease, state="running", target_trials=8)
    assert store.status(study.study_id).eta_seconds == pytest.approx(50.0)
    store.update_study(study.lease, progress={"done": 1, "total": 3, "eta_seconds": 7})
    assert store.status(study.study_id).eta_seconds == pytest.approx(57.0)
    deadline = study.lease.expires_at - 60 + 20
    store.update_study(study.lease, deadline=deadline)
    assert store.status(study.study_id).eta_seconds == pytest.approx(20.0, abs=2.0)
    store.update_study(study.lease, deadline=None, progress=None, target_trials=3)
    assert store.status(study.study_id).eta_seconds == 0.0


def test_a_finished_study(store: Store, study: Fixture) -> None:
    report = {"best": {"mean_kld": 0.5}}
    store.update_study(study.lease, state="finished", report=report, events=[NewEvent("study.finished")])
    record = store.study(study.study_id)
    assert (record.state, record.report, record.finished_at is not None) == ("finished", report, True)
    assert store.status(study.study_id).eta_seconds == 0.0
    assert store.find_study("night") == record
    assert store.find_study("day") is None
    store.update_study(study.lease, state="running", target_trials=100)
    record = store.study(study.study_id)
    assert (record.finished_at, record.report) == (None, report)


def test_a_name_is_taken_once(store: Store, study: Fixture) -> None:
    with pytest.raises(StudyError, match="'night' exists"):
        store.create_study("night", 1, {}, seed=1)


def test_no_such_study(store: Store) -> None:
    for ask in (store.status, store.study):
        with pytest.raises(StudyError, match="no study 4"):
            ask(4)


@contextmanager
def statements() -> Iterator[list[str]]:
    """What is sent to any database meanwhile."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_the_table_of_ten_thousand_trials_is_one_query_without_what_fills_them(sqlite_store: Store) -> None:
    store, study = sqlite_store, new_study(sqlite_store)
    params = {f"blk.{layer}.{group}": "Q4_K" for layer in range(32) for group in ("attn", "ffn")}
    trial = study.finish(study.start(params=params, layer_types="x" * 2000))
    with store.writing() as session:
        connection = session.connection()
        connection.exec_driver_sql("CREATE TEMP TABLE copied AS SELECT * FROM trials")
        connection.exec_driver_sql("UPDATE copied SET id = NULL")
        connection.exec_driver_sql(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9999) "
            "INSERT INTO trials SELECT NULL, study_id, i, " + _columns_after_number(store) + " FROM copied, n"
        )
    with statements() as sent:
        frame = store.trials_frame(study.study_id)
    assert len([each for each in sent if "FROM trials" in each]) == 1
    assert not any("trials.params" in each for each in sent)
    assert list(frame["number"]) == list(range(10_000))
    assert frame["mean_kld"].iloc[-1] == trial.mean_kld
    assert not {"id", "study_id", "params"} & set(frame.columns)


def test_light_trials_are_the_trials_but_for_what_fills_them(store: Store, study: Fixture) -> None:
    study.finish(study.start(layer_types='[[0,"Q4_K"]]'))
    study.start(name="Q4_0")
    whole = store.trials(study.study_id)
    assert store.light_trials(study.study_id) == [replace(each, params={}, layer_types=None) for each in whole]
    assert store.light_trials(study.study_id, layer_types=True) == [replace(each, params={}) for each in whole]
    assert [each.number for each in store.light_trials(study.study_id, ("running",))] == [1]
    assert [each.number for each in store.ended_trials(study.study_id)] == [0]


def test_the_table_of_no_trials_has_its_columns(store: Store, study: Fixture) -> None:
    frame = store.trials_frame(study.study_id)
    assert len(frame) == 0
    assert "mean_kld" in frame.columns


def _columns_after_number(store: Store) -> str:
    with store.reading() as session:
        rows = session.connection().exec_driver_sql("PRAGMA table_info(trials)").all()
    return ", ".join(row[1] for row in rows[3:])


def _set_durations(store: Store, seconds: float) -> None:
    with store.writing() as session:
        session.connection().exec_driver_sql(f"UPDATE trials SET duration_seconds = {seconds}")
