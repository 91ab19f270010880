"""`layerquant db`: a copy equals its original row for row, and a copy that cannot be whole is not there at all."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from optimizer.cli import run
from optimizer.errors import StorageError, StudyError
from optimizer.progress import SilentReporter
from optimizer.store import BehaviourRecord, NewEvent, SensitivityRecord, Store, TrialOutcome
from optimizer.store.copying import copy_database
from optimizer.store.schema import Commit, Table
from tests.store.studies import Fixture, new_study

AWKWARD = {"Ж": [1e-300, 0.1 + 0.2, 2**53 + 1, None, True], "a": {"z": "“quoted” \\u0000 \\", "b": 123456789.125}}


def _fill(store: Store) -> Fixture:
    """Every table, with values that a careless copy changes."""
    study = new_study(store)
    store.update_study(study.lease, progress=AWKWARD, report=None, events=[NewEvent("study.started", AWKWARD)])
    for number in range(5):
        trial = study.start(params={"ffn": "Q4_K", "attn": f"Q{number}_K"}, budget_bytes=2**40 + number)
        study.finish(trial, 0.1 * number, evaluations=[study.evaluation(number)])
    failed = study.start()
    store.finish_trial(study.lease, failed.id, TrialOutcome("failed", error="it’s gone"))
    study.start()
    store.add_behaviour(
        BehaviourRecord("f1:k1", "s1", "search", study.settings_key, (AWKWARD,), AWKWARD, {"seconds": 1.5})
    )
    model_id = store.study(study.study_id).model_id
    store.add_sensitivities([SensitivityRecord(model_id, study.text_id, study.settings_key, "u", "Q2_K", "F16", 1e-9)])
    store.mark_delivered([1])
    assert store.claim("mlflow", 60) is not None
    store.release_lease(study.lease)
    return study


def _rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.reading() as session:
        return {
            table.name: [tuple(row) for row in session.execute(sa.select(table).order_by(*table.primary_key))]
            for table in Table.metadata.sorted_tables
            if table is not Commit.__table__
        }


def test_there_and_back_again(database: str, tmp_path: Path) -> None:
    """SQLite to SQLite by default; in the long tests SQLite to PostgreSQL and back."""
    with Store.open(tmp_path / "first.db") as first, Store.open(database) as second:
        study = _fill(first)
        copied = copy_database(first, second, SilentReporter())
        with Store.open(tmp_path / "third.db") as third:
            assert copy_database(second, third, SilentReporter()) == copied
            rows = _rows(first)
            assert _rows(second) == rows
            assert _rows(third) == rows
        assert copied == {name: len(each) for name, each in rows.items()}
        assert all(copied.values())
        lease = second.acquire_lease(study.study_id, 60)  # the copy is worked with: ids go on where they were
        assert [each.trial.number for each in second.reconcile(lease)] == [6]
        assert second.start_trial(lease, origin="swap", recipe_id=1, size_bytes=1, params={}).number == 7
        new_study(second, "another")
    assert _raw(tmp_path / "first.db") == _raw(tmp_path / "third.db")


def _raw(path: Path) -> list[str]:
    """All rows as SQLite has them: compressed bytes, the very text of JSON, and the type of each value."""
    connection = sqlite3.connect(path)
    lines = [line for line in connection.iterdump() if line.startswith("INSERT")]
    connection.close()
    return sorted(lines)


def test_a_study_that_is_searched_is_not_copied(store: Store, tmp_path: Path) -> None:
    study = _fill(store)
    store.acquire_lease(study.study_id, 60)
    with Store.open(tmp_path / "copy.db") as copy:
        with pytest.raises(StudyError, match=r"being searched by process.*layerquant stop night"):
            copy_database(store, copy, SilentReporter())
        assert copy.studies() == []


def test_nothing_is_overwritten(database: str, tmp_path: Path) -> None:
    with Store.open(tmp_path / "first.db") as first, Store.open(database) as second:
        _fill(first)
        model = second.add_model(
            fingerprint="f9", name="other", path="o.gguf", architecture="llama", n_layer=1, size_bytes=1
        )
        with pytest.raises(StudyError, match="is not empty: its table models has 1 rows"):
            copy_database(first, second, SilentReporter())
        assert second.model(model.id).fingerprint == "f9"
        assert second.studies() == []


def test_a_copy_that_breaks_off_leaves_nothing(database: str, tmp_path: Path) -> None:
    class Breaking(SilentReporter):
        def phase(self, title: str, total: int) -> None:
            if "outbox" in title:
                raise OSError("the disk is gone")

    with Store.open(tmp_path / "first.db") as first, Store.open(database) as second:
        _fill(first)
        with pytest.raises(OSError, match="gone"):
            copy_database(first, second, Breaking())
        assert not any(_rows(second).values())
        assert copy_database(first, second, SilentReporter())["trials"] == 7


def test_onto_itself(sqlite_store: Store) -> None:
    with pytest.raises(StudyError, match="onto itself"), Store(sqlite_store.url) as again:
        copy_database(sqlite_store, again, SilentReporter())


def test_the_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Store.open(tmp_path / "studies") as store:
        _fill(store)
    copy = tmp_path / "copy.db"
    assert run(["db", "copy", str(tmp_path / "studies"), f"sqlite:///{copy}", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["rows"]["trials"] == 7
    assert run(["db", "copy", str(tmp_path / "studies"), str(copy)]) == 1
    assert "not empty" in capfd.readouterr().err
    connection = sqlite3.connect(copy)
    connection.execute("DROP TABLE commits")
    connection.execute("DROP INDEX ix_trials_study_id_state")
    connection.execute("UPDATE layerquant_version SET version_num = '0003'")
    connection.commit()
    connection.close()
    assert run(["db", "upgrade", "--database", f"sqlite:///{copy}"]) == 0
    assert "schema 0003 -> 0004" in capfd.readouterr().out
    assert run(["db", "upgrade", "--database", f"sqlite:///{copy}"]) == 0
    assert "already (0004)" in capfd.readouterr().out


@pytest.mark.parametrize("missing", ["nowhere", "nowhere.db", "sqlite:///{folder}/nowhere.db"])
def test_a_database_that_is_not_there_is_not_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], missing: str
) -> None:
    name = missing.format(folder=tmp_path) if "://" in missing else str(tmp_path / missing)
    assert run(["db", "copy", name, str(tmp_path / "copy.db")]) == StorageError.exit_code
    assert "no such database" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []
