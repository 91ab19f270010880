"""What a user meets when the database cannot be used, and what two writers meet when it can."""

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from optimizer.errors import ConfigError, StorageError
from optimizer.store import Store
from tests.store.studies import new_study


def test_a_folder_a_file_and_a_url_name_the_same_database(tmp_path: Path) -> None:
    with Store.open(tmp_path / "studies") as store:
        new_study(store)
    path = tmp_path / "studies" / "layerquant.db"
    for name in (path, str(path), f"sqlite:///{path}"):
        with Store.open(name) as store:
            assert [study.name for study in store.studies()] == ["night"]
            assert store.folder == path.parent


def test_settings_of_the_connection(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, store.reading() as session:
        connection = session.connection()
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() >= 10_000


def test_foreign_keys_hold(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, pytest.raises(StorageError, match="FOREIGN KEY"):
        store.create_study("orphan", 99, {}, seed=0)


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    Store.open(tmp_path).close()
    _execute(tmp_path / "layerquant.db", "UPDATE layerquant_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=r"newer layerquant \(its schema is 9999.*Update layerquant"):
        Store.open(tmp_path)


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    _execute(path, "CREATE TABLE studies (study_id INTEGER)")
    with pytest.raises(StorageError, match="another program"):
        Store.open(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("studies",)]
    connection.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "layerquant.db"
    path.write_bytes(b"GGUF" * 2000)
    with pytest.raises(StorageError, match="not a SQLite database"):
        Store.open(path)
    assert path.read_bytes() == b"GGUF" * 2000


def test_a_damaged_database_is_named_when_it_is_met(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for number in range(50):
            new_study(store, f"study {number}")
    path = tmp_path / "layerquant.db"
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)  # the first page, with the header, stays whole
    path.write_bytes(content)
    damaged = pytest.raises(StorageError, match=r"layerquant\.db: it is damaged.*recover")
    with damaged, Store.open(tmp_path) as store:
        store.studies()


def test_a_truncated_database(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        new_study(store)
    path = tmp_path / "layerquant.db"
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(StorageError, match="damaged"), Store.open(tmp_path) as store:
        store.studies()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot be made.*--studies"):
        Store.open(tmp_path / "file" / "studies")


def test_a_read_only_folder(tmp_path: Path) -> None:
    Store.open(tmp_path).close()  # so that all modules are loaded before the rights go
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o555)
        with _without_root(), pytest.raises(StorageError, match="cannot be opened or made"):
            Store.open(folder)
        assert list(folder.iterdir()) == []
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_read_only_file(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        with Store.open(folder) as store:
            new_study(store)
        (folder / "layerquant.db").chmod(0o444)
        folder.chmod(0o755)
        refused = pytest.raises(StorageError, match=r"cannot be (written to|opened)")
        with _without_root(), refused, Store.open(folder) as store:
            new_study(store, "second")
    finally:
        shutil.rmtree(folder)


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match="lose the study"):
        Store.open("sqlite://")


def test_a_url_nobody_can_read() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Store.open("://x")


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(StorageError, match=r"driver '\w+' is not installed"):
        Store.open("oracle+oracledb://user:secret@host/db")


def test_passwords_are_not_shown() -> None:
    with pytest.raises(StorageError) as raised:
        Store.open("oracle+oracledb://user:secret@host/db")
    assert "secret" not in str(raised.value)


def test_an_error_undoes_the_whole_transaction(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        study = new_study(store)
        with pytest.raises(StorageError, match="FOREIGN KEY"):
            store.add_evaluations([study.evaluation(), study.evaluation(recipe_id=99)])
        assert store.find_evaluations(study.recipe_id, study.text_id, study.settings_key) == []


def test_many_threads_start_and_open_at_once(database: str) -> None:
    """Eight openings of one new database, and eight writers to one study: nobody fails, no number comes twice."""
    failures: list[Exception] = []

    def open_and_close() -> None:
        try:
            Store.open(database).close()
        except Exception as error:
            failures.append(error)

    _together(open_and_close)
    assert failures == []
    with Store.open(database) as store:
        study = new_study(store)
        _together(lambda: study.finish(study.start()))
        assert [trial.number for trial in store.trials(study.study_id)] == list(range(8))


def _together(work: object) -> None:
    threads = [threading.Thread(target=work) for _ in range(8)]  # type: ignore[arg-type]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


@contextmanager
def _without_root() -> Iterator[None]:
    """Modes bind everybody but root, as whom containers run tests."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
