"""Answers to prompts are kept once, whole, and told apart by everything that changes them."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from optimizer.errors import StudyError
from optimizer.store import BehaviourRecord, Store
from optimizer.store.schema import VERSION_TABLE
from tests.store.studies import Fixture

TEXT = "Then he said \u201cno\u201d \ud83d: " + "again and again. " * 400
PROMPT = {"id": "p1", "category": "logic", "answers": [{"question": "p1", "tokens": [1, 70000, 3], "text": TEXT}]}


def record(study: Fixture, **changes: object) -> BehaviourRecord:
    values = {
        "subject": "f1:k1",
        "suite_sha256": "s1",
        "half": "search",
        "settings_key": study.settings_key,
        "prompts": (PROMPT,),
        "summary": {"solved": 1},
        "generation": {"seconds": 2.5},
    }
    return BehaviourRecord(**(values | changes))


def find(store: Store, wanted: BehaviourRecord) -> BehaviourRecord | None:
    return store.find_behaviour(wanted.subject, wanted.suite_sha256, wanted.half, wanted.settings_key)


def test_a_result_is_kept_once_and_read_back_whole(store: Store, study: Fixture) -> None:
    first = record(study)
    assert find(store, first) is None
    assert store.add_behaviour(first, study.lease) == first
    assert store.add_behaviour(replace(first, summary={"solved": 9})) == first
    assert find(store, first) == first


@pytest.mark.parametrize(
    "change", [{"subject": "f1:k2"}, {"suite_sha256": "s2"}, {"half": "report"}, {"half": "whole"}]
)
def test_another_key_is_another_result(store: Store, study: Fixture, change: dict[str, str]) -> None:
    store.add_behaviour(record(study))
    other = record(study, **change)
    assert find(store, other) is None
    store.add_behaviour(other)
    assert find(store, other) == other
    assert find(store, record(study)) == record(study)


def test_other_settings_are_another_result(store: Store, study: Fixture) -> None:
    store.add_behaviour(record(study))
    assert find(store, record(study, settings_key=store.add_settings({"engine": "b2"}))) is None


def test_transcripts_are_compressed(store: Store, study: Fixture) -> None:
    store.add_behaviour(record(study))
    with store.reading() as session:
        size = session.connection().exec_driver_sql("SELECT length(prompts) FROM behaviours").scalar_one()
    assert size < len(TEXT) / 10


def test_after_a_lost_lease_nothing_is_written(store: Store, study: Fixture) -> None:
    store.release_lease(study.lease)
    with pytest.raises(StudyError, match="taken over"):
        store.add_behaviour(record(study), study.lease)
    assert find(store, record(study)) is None


def test_judged_again_only_verdicts_change(store: Store, study: Fixture) -> None:
    store.add_behaviour(record(study))
    judged = record(study, prompts=({**PROMPT, "category": "code"},), summary={"solved": 0}, generation={})
    store.judge_again(judged)
    assert find(store, record(study)) == replace(judged, generation={"seconds": 2.5})


def test_a_database_of_the_version_before_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "layerquant.db"
    Store.open(path).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_trials_study_id_state"))
        for table in ("behaviours", "commits"):
            connection.execute(text(f"DROP TABLE {table}"))
        connection.execute(text("ALTER TABLE trials DROP COLUMN predicted_kld_standard_error"))
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '0001'"))
    engine.dispose()
    with Store.open(path) as opened:
        assert opened.find_behaviour("f1", "s1", "whole", "k") is None
