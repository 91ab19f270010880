"""Set-up: the lock, how uv is found, what is passed to the compile of llama.cpp, and what make offers."""

import hashlib
import io
import os
import re
import shlex
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tools import find_uv, set_up

ROOT = Path(__file__).resolve().parents[1]
MACHINES = [("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"), ("Darwin", "x86_64")]
COMPILED_BY_THE_USER = {"llama-cpp-python", "layerquant"}


@pytest.fixture(scope="module")
def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lock() -> dict[str, Any]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


# The lock


def test_lock_comes_from_the_public_index_alone(lock: dict[str, Any]) -> None:
    for package in lock["package"]:
        expected = {"editable": "."} if package["name"] == "layerquant" else {"registry": "https://pypi.org/simple"}
        assert package["source"] == expected, package["name"]
    urls = re.findall(r'url = "([^"]+)"', (ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert {re.match(r"https://[^/]+/", url).group() for url in urls} == {"https://files.pythonhosted.org/"}  # type: ignore[union-attr]


def test_lock_was_made_from_these_requirements(settings: dict[str, Any], lock: dict[str, Any]) -> None:
    def as_written(requirement: str) -> tuple[str, set[str]]:
        name, specifiers = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?(.*)", requirement.split(";")[0].strip()).groups()  # type: ignore[union-attr]
        return name.lower(), {part.strip() for part in specifiers.split(",") if part.strip()}

    def as_locked(requirement: dict[str, str]) -> tuple[str, set[str]]:
        return requirement["name"], {part for part in requirement.get("specifier", "").split(",") if part}

    (own,) = [package["metadata"] for package in lock["package"] if package["name"] == "layerquant"]
    groups = {None: settings["project"]["dependencies"], **settings["dependency-groups"]}
    locked = {None: own["requires-dist"], **own["requires-dev"]}
    for group, requirements in groups.items():
        written = sorted((as_written(requirement) for requirement in requirements), key=lambda pair: pair[0])
        there = sorted((as_locked(requirement) for requirement in locked[group]), key=lambda pair: pair[0])
        assert written == there, f"run `uv lock`: group {group} of pyproject.toml is not what uv.lock was made from"
    assert lock["requires-python"].replace(" ", "") == settings["project"]["requires-python"]


@pytest.mark.parametrize("python", ["311", "312", "313", "314"])
@pytest.mark.parametrize("platform", ["manylinux", "macosx"])
def test_nothing_but_llama_cpp_is_compiled(lock: dict[str, Any], python: str, platform: str) -> None:
    without = set()
    for package in lock["package"]:
        files = [wheel["url"].rsplit("/", 1)[1] for wheel in package.get("wheels", [])]
        fits = re.compile(
            rf"-(?:cp{python}-(?:cp{python}|abi3)|cp3\d+-abi3|py3-none|py2\.py3-none)-(?:any|.*{platform})"
        )
        linux_only = package["name"].startswith(("nvidia-", "cuda-")) or package["name"] == "triton"
        if not any(fits.search(file) for file in files) and not (linux_only and platform == "macosx"):
            without.add(package["name"])
    assert without == COMPILED_BY_THE_USER


# uv


@pytest.mark.parametrize(
    ("text", "numbers"), [("uv 0.13.8 (x86_64-unknown-linux-gnu)", (0, 13, 8)), (">=0.9", (0, 9)), ("none", ())]
)
def test_version_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert find_uv.version_numbers(text) == numbers


@pytest.mark.parametrize(("system", "machine"), MACHINES)
def test_lock_pins_uv_for_every_machine(lock: dict[str, Any], system: str, machine: str) -> None:
    version, url, digest = find_uv.locked_wheel(lock, system, machine)
    assert f"/uv-{version}-" in url
    assert ("manylinux" if system == "Linux" else "macosx") in url
    assert ("x86_64" in url) == (machine == "x86_64")
    assert re.fullmatch(r"[0-9a-f]{64}", digest)


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "sparc64")])
def test_machines_without_a_locked_uv_are_told_so(lock: dict[str, Any], system: str, machine: str) -> None:
    with pytest.raises(find_uv.UvError, match=system):
        find_uv.locked_wheel(lock, system, machine)


def wheel_with(content: bytes) -> tuple[bytes, str]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("uv-1.2.3.dist-info/METADATA", "Name: uv")
        file.writestr("uv-1.2.3.data/scripts/uv", content)
    return archive.getvalue(), hashlib.sha256(archive.getvalue()).hexdigest()


def test_the_program_is_unpacked_and_can_run(tmp_path: Path) -> None:
    wheel, digest = wheel_with(b"#!/bin/sh\necho uv 1.2.3\n")
    target = tmp_path / ".uv" / "1.2.3" / "uv"
    find_uv.unpack_program(wheel, digest, target)
    assert target.stat().st_mode & stat.S_IXUSR
    assert find_uv.usable(target, (1, 2))
    assert not find_uv.usable(target, (1, 3))


def test_another_wheel_than_the_locked_one_is_refused(tmp_path: Path) -> None:
    wheel, _ = wheel_with(b"#!/bin/sh\n")
    with pytest.raises(find_uv.UvError, match="SHA-256"):
        find_uv.unpack_program(wheel, "0" * 64, tmp_path / "uv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("on_path", "fetched"),
    [("echo uv 99.0.0", False), ("echo uv 0.1.0", True), ("exit 1", True), (None, True)],
    ids=["new enough", "too old", "a stand-in that fails", "none"],
)
def test_uv_on_path_is_used_only_when_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: str | None, fetched: bool
) -> None:
    if on_path:
        program(tmp_path / "bin" / "uv", f"#!/bin/sh\n{on_path}\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep if on_path else None)
    wheel, digest = wheel_with(b"#!/bin/sh\necho uv 50.0.0\n")
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(find_uv, "locked_wheel", lambda *_: ("50.0.0", "https://example.invalid/uv.whl", digest))
    downloads: list[str] = []

    def download(url: str) -> bytes:
        downloads.append(url)
        return wheel

    monkeypatch.setattr(find_uv, "download", download)
    uv = find_uv.find_uv(tmp_path)
    assert (uv == tmp_path / ".uv" / "50.0.0" / "uv") is fetched
    assert find_uv.find_uv(tmp_path) == uv
    assert len(downloads) == int(fetched)


# The environment


def test_users_cmake_arguments_are_kept_and_win() -> None:
    wanted = "-DGGML_CUDA=on -DGGML_NATIVE=off"
    variables, options = set_up.compile_settings(wanted, {"PATH": "/bin", "VIRTUAL_ENV": "/x"})
    arguments = shlex.split(variables["CMAKE_ARGS"])
    assert arguments[-2:] == wanted.split()
    assert arguments[0] == f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={set_up.LIBRARY_ONLY}"
    assert set_up.LIBRARY_ONLY.is_file()
    assert int(variables["CMAKE_BUILD_PARALLEL_LEVEL"]) >= 1
    assert "VIRTUAL_ENV" not in variables
    assert options[1].endswith(f"={wanted}"), "uv's cache must tell this build from a CPU build"


def test_plain_build_needs_no_options_and_a_path_may_hold_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(set_up, "LIBRARY_ONLY", Path("/home/a user/library.cmake"))
    variables, options = set_up.compile_settings("", {"CMAKE_BUILD_PARALLEL_LEVEL": "3"})
    assert shlex.split(variables["CMAKE_ARGS"]) == ["-DCMAKE_PROJECT_llama_cpp_INCLUDE=/home/a user/library.cmake"]
    assert variables["CMAKE_BUILD_PARALLEL_LEVEL"] == "3"
    assert options == []


class Workplace:
    """A set-up in a temporary folder, with uv replaced by a program that notes how it was called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment, self.calls = folder / ".venv", folder / "calls"
        self.inputs = tuple(folder / name for name in ("pyproject.toml", "uv.lock"))
        for path in self.inputs:
            path.write_text("first", encoding="utf-8")
        uv = program(folder / "uv", f'#!/bin/sh\necho "$CMAKE_ARGS" >> {self.calls}\n')
        program(self.environment / "bin" / "python", "#!/bin/sh\necho CPU : AVX2 = 1\n")
        monkeypatch.setattr(set_up, "ENVIRONMENT", self.environment)
        monkeypatch.setattr(set_up, "STAMP", self.environment / "stamp.json")
        monkeypatch.setattr(set_up, "INPUTS", self.inputs)
        monkeypatch.setattr(set_up, "ROOT", folder)
        monkeypatch.setitem(sys.modules, "find_uv", find_uv)
        monkeypatch.setattr(find_uv, "find_uv", lambda _: uv)
        monkeypatch.delenv("CMAKE_ARGS", raising=False)

    def cmake_arguments(self) -> list[str]:
        """CMAKE_ARGS of every call so far, without the option that is always there."""
        lines = self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []
        return [" ".join(shlex.split(line)[1:]) for line in lines]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    return Workplace(tmp_path, monkeypatch)


def test_second_set_up_calls_nothing(workplace: Workplace) -> None:
    for _ in range(3):
        assert set_up.main() == 0
    assert workplace.cmake_arguments() == [""]


def test_a_changed_lock_is_noticed(workplace: Workplace) -> None:
    set_up.main()
    workplace.inputs[1].write_text("second", encoding="utf-8")
    set_up.main()
    assert len(workplace.cmake_arguments()) == 2


def test_a_gpu_build_stays_one_until_it_is_asked_away(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    set_up.main()
    monkeypatch.delenv("CMAKE_ARGS")
    set_up.main()
    workplace.inputs[0].write_text("second", encoding="utf-8")
    set_up.main()
    monkeypatch.setenv("CMAKE_ARGS", "")
    set_up.main()
    assert workplace.cmake_arguments() == ["-DGGML_CUDA=on", "-DGGML_CUDA=on", ""]


def test_a_library_that_does_not_load_is_tried_again(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    python = workplace.environment / "bin" / "python"
    program(python, "#!/bin/sh\necho no such library >&2\nexit 1\n")
    assert set_up.main() == 1
    assert "no such library" in capfd.readouterr().err
    program(python, "#!/bin/sh\necho CPU\n")
    assert set_up.main() == 0
    assert len(workplace.cmake_arguments()) == 2


def test_missing_compiler_is_said_before_anything_else(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(workplace.environment))
    assert set_up.main() == 1
    assert "build-essential" in capfd.readouterr().err
    assert workplace.cmake_arguments() == []


def test_an_old_python_looks_for_a_newer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "python3.13", "#!/bin/sh\nexit 1\n")
    working = program(tmp_path / "python3.12", "#!/bin/sh\nexit 0\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(set_up.sys, "version_info", (3, 9, 2))
    assert set_up.supported_python() == str(working)
    working.unlink()
    assert set_up.supported_python() is None
    assert set_up.main() == 1


# make and CI


def test_make_help_names_every_target() -> None:
    targets = (
        re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE).group(1).split()
    )  # type: ignore[union-attr]
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"make ([a-z-]+)", shown) == targets


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 2), (2, 2), (5, 0)])
def test_make_test_long_fails_only_on_failures(tmp_path: Path, status: int, expected: int) -> None:
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    program(tmp_path / ".venv" / "bin" / "pytest", f'#!/bin/sh\necho "$@" > called\nexit {status}\n')
    done = subprocess.run(["make", "PYTHON=true", "test-long"], cwd=tmp_path, capture_output=True)
    assert done.returncode == expected
    assert (tmp_path / "called").read_text().startswith("-m long")


def test_ci_runs_what_a_user_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=True)
    assert re.findall(r"^make ([a-z-]+)$", script, re.MULTILINE)[-2:] == ["test", "test-long"]
