"""What doctor finds on machines that are well and on machines that are not, and that it never raises."""

import resource
import signal
import sqlite3
from pathlib import Path

import pytest

from optimizer import doctor
from optimizer.compiled_library import LibraryAnswer, ask_library, cpu_flags, parse_system_info
from optimizer.doctor import Check, examine

SYSTEM_INFO = "CUDA : ARCHS = 890 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX = 1 | AVX2 = 1 | OPENMP = 1 | AMX_INT8 = 0 | "
GOOD = LibraryAnswer("0.3.36", frozenset({"AVX", "AVX2", "FMA", "F16C", "BMI2"}), ("CPU",))
CPU = frozenset({"avx", "avx2", "fma", "f16c", "bmi2", "sse4_2"})


def test_this_machine_is_examined_whole(tmp_path: Path) -> None:
    checks = examine(tmp_path / "not" / "yet")
    assert [check.name for check in checks] == [
        "python",
        "llama.cpp",
        "cpu features",
        "gpu",
        "memory",
        "open files",
        "studies folder",
        "disk",
        "mlflow",
    ]
    by_name = {check.name: check for check in checks}
    assert by_name["llama.cpp"].state == "ok"
    assert "0.3.36" in by_name["llama.cpp"].found
    assert by_name["studies folder"].state == "ok"
    assert list(tmp_path.iterdir()) == [], "doctor leaves nothing behind"


def test_every_finding_that_is_not_ok_says_what_to_do(tmp_path: Path) -> None:
    broken = [
        doctor.check_library(LibraryAnswer(error="no module")),
        doctor.check_cpu_features(GOOD, CPU | {"avx512f"}),
        doctor.check_gpu(GOOD, "/usr/bin/nvidia-smi"),
        doctor.check_memory((2**30, 2**30)),
        doctor.check_open_files(256, 256),
        doctor.check_disk(10, tmp_path),
    ]
    assert all(check.state != "ok" and check.advice for check in broken)


def test_a_check_that_fails_itself_becomes_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> tuple[int, int]:
        raise ZeroDivisionError("odd machine")

    monkeypatch.setattr(doctor, "available_memory", breaks)
    by_name = {check.name: check for check in examine(tmp_path)}
    assert by_name["memory"] == Check("memory", "warn", "could not be examined: ZeroDivisionError: odd machine")


# The compiled library


def test_parse_system_info() -> None:
    features, backends = parse_system_info(SYSTEM_INFO)
    assert features == {"SSE3", "AVX", "AVX2", "OPENMP"}
    assert backends == ("CUDA", "CPU")


@pytest.mark.parametrize("text", ["", " | ", "CPU : ", "nothing to see"])
def test_parse_system_info_of_less(text: str) -> None:
    assert parse_system_info(text)[0] == frozenset()


def stand_in(folder: Path, body: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_library_for_another_cpu_is_named_by_its_signal(tmp_path: Path) -> None:
    answer = ask_library(stand_in(tmp_path, "kill -ILL $$"))
    check = doctor.check_library(answer)
    assert check.state == "fail"
    assert signal.SIGILL.name in check.found
    assert "another CPU" in check.advice


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("echo 'ModuleNotFoundError: llama_cpp' >&2; exit 1", "ModuleNotFoundError"),
        ("exit 3", "no message"),
        ("echo not json", "unreadable"),
        ("exit 0", "unreadable"),
        ("sleep 5", "timed out"),
    ],
)
def test_library_that_does_not_answer(tmp_path: Path, body: str, part: str) -> None:
    check = doctor.check_library(ask_library(stand_in(tmp_path, body), timeout=0.5))
    assert check.state == "fail"
    assert part in check.found


def test_no_python_at_all(tmp_path: Path) -> None:
    assert ask_library(str(tmp_path / "none")).error


def test_another_version_than_the_pinned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda _: ["numpy>=2", "llama-cpp-python==0.3.36"])
    assert doctor.check_library(GOOD).state == "ok"
    check = doctor.check_library(LibraryAnswer("0.3.40", GOOD.features, GOOD.backends))
    assert check.state == "warn"
    assert "0.3.36" in check.advice


def test_cpu_flags_of_both_families(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx avx2\n\nprocessor\t: 1\nflags\t\t: x\n", encoding="utf-8")
    assert cpu_flags(cpuinfo) == {"fpu", "avx", "avx2"}
    cpuinfo.write_text("processor\t: 0\nFeatures\t: fp asimd i8mm\n", encoding="utf-8")
    assert cpu_flags(cpuinfo) == {"fp", "asimd", "i8mm"}
    assert cpu_flags(tmp_path / "none") == frozenset()


def test_cpu_features() -> None:
    assert doctor.check_cpu_features(GOOD, CPU).state == "ok"
    check = doctor.check_cpu_features(GOOD, CPU | {"avx512f", "avx512_vnni"})
    assert check.state == "warn"
    assert "AVX512, AVX512_VNNI" in check.found
    assert doctor.check_cpu_features(GOOD, frozenset()).state == "ok", "macOS names no flags"


def test_gpu() -> None:
    assert doctor.check_gpu(GOOD, None).state == "ok"
    without_driver = doctor.check_gpu(LibraryAnswer("0.3.36", GOOD.features, ("CUDA", "CPU")), None)
    assert without_driver.state == "warn"
    assert "CUDA" in without_driver.found
    usable = doctor.check_gpu(LibraryAnswer("0.3.36", GOOD.features, ("CUDA", "CPU"), offloads=True), "/bin/nvidia-smi")
    assert usable.state == "ok"
    assert "-ngl" in usable.found


# The machine


@pytest.mark.parametrize(
    ("soft", "hard", "state"),
    [
        (256, 1_048_576, "ok"),
        (1024, 1024, "warn"),
        (1024, resource.RLIM_INFINITY, "ok"),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok"),
    ],
)
def test_only_the_hard_limit_of_open_files_matters(soft: int, hard: int, state: str) -> None:
    check = doctor.check_open_files(soft, hard)
    assert check.state == state
    assert str(resource.RLIM_INFINITY) not in check.found


@pytest.mark.parametrize(("free", "state"), [(10**8, "fail"), (5 * 10**9, "warn"), (10**12, "ok")])
def test_disk(free: int, state: str, tmp_path: Path) -> None:
    assert doctor.check_disk(free, tmp_path).state == state


def test_studies_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "studies"
    path.write_text("", encoding="utf-8")
    assert doctor.check_studies(path).state == "fail"


def test_studies_that_cannot_hold_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("sqlite3.connect", connect)
    check = doctor.check_studies(tmp_path)
    assert check.state == "fail"
    assert "--studies" in check.advice


def test_mlflow_server_that_does_not_answer() -> None:
    check = doctor.check_mlflow({"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}, timeout=1)
    assert check.state == "warn"
    assert "catches up" in check.advice
    assert doctor.check_mlflow({}).state == "ok"
    assert doctor.check_mlflow({"MLFLOW_TRACKING_URI": "sqlite:///x.db"}).state == "ok"
