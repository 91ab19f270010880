"""Make `.venv` from the committed lock; `make setup` runs this, and so do `make demo` and `make test`.

    python3 tools/set_up.py            # CMAKE_ARGS="-DGGML_CUDA=on" is passed on to the compile of llama.cpp

Needs Python 3.11+, a C and C++ compiler and make, nothing else: uv is taken from PATH or fetched (`tools/find_uv.py`).
Standard library only. Costs milliseconds when nothing has changed since the last time; what counts as a change is the
content of the files in `INPUTS`, the Python and CMAKE_ARGS. A run without CMAKE_ARGS in the environment keeps those of
the last one, so that a GPU build stays a GPU build.
"""

from __future__ import annotations  # so that a Python too old for layerquant still reads this file and is told so

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
STAMP = ENVIRONMENT / "layerquant-setup.json"
LIBRARY_ONLY = ROOT / "tools" / "llama_library_only.cmake"
INPUTS = (ROOT / "pyproject.toml", ROOT / "uv.lock", LIBRARY_ONLY)
OLDEST_PYTHON = (3, 11)
NEWEST_PYTHON = (3, 14)


class SetupError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def read_stamp(path: Path) -> dict[str, str]:
    """What the last successful set-up recorded, or an empty dictionary."""
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def wanted_stamp(inputs: Sequence[Path], cmake_arguments: str) -> dict[str, str]:
    """What the stamp says once the environment is as these files and arguments want it."""
    contents = hashlib.sha256()
    for path in inputs:
        contents.update(path.read_bytes() + b"\0")
    return {
        "inputs": contents.hexdigest(),
        "cmake_args": cmake_arguments,
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "place": str(ENVIRONMENT),
    }


def compile_settings(cmake_arguments: str, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Environment variables and uv options for the compile of llama.cpp.

    The user's CMAKE_ARGS come last, so that they win. uv tells two builds of one version apart by their configuration
    settings, not by CMAKE_ARGS: they are repeated as a setting that CMake ignores, else a GPU build would be answered
    with a CPU build from the cache.
    """
    library_only = shlex.quote(f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={LIBRARY_ONLY}")
    variables = dict(environment)
    variables["CMAKE_ARGS"] = f"{library_only} {cmake_arguments}".strip()
    variables.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(usable_cores()))
    variables["UV_PROJECT_ENVIRONMENT"] = str(ENVIRONMENT)
    variables.pop("VIRTUAL_ENV", None)
    setting = f"llama-cpp-python:cmake.define.LAYERQUANT_CMAKE_ARGS={cmake_arguments}"
    return variables, ["--config-settings-package", setting] if cmake_arguments else []


def usable_cores() -> int:
    """Cores that this process may use: containers and taskset allow fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def supported_python() -> str | None:
    """This Python, or another on PATH of a supported version; None when there is none."""
    if OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        return sys.executable
    for minor in range(NEWEST_PYTHON[1], OLDEST_PYTHON[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # A version manager's stand-in is on PATH for versions that are not active, and fails when run.
        if found and subprocess.call([found, "-c", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0:
            return found
    return None


def check_compilers() -> None:
    """Raise SetupError when a compiler is missing: after minutes of downloads CMake would say it less clearly."""
    wanted = {"CC": ("C", ("cc", "gcc", "clang")), "CXX": ("C++", ("c++", "g++", "clang++"))}
    for variable, (language, programs) in wanted.items():
        if not os.environ.get(variable) and not any(shutil.which(program) for program in programs):
            raise SetupError(
                f"No {language} compiler found, and llama.cpp must be compiled.\n"
                "Debian, Ubuntu: apt install build-essential. macOS: xcode-select --install."
            )


def check_library() -> None:
    """Load the compiled library in the new environment and say its CPU features or GPU in one line."""
    program = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
    answer = subprocess.run([ENVIRONMENT / "bin" / "python", "-c", program], capture_output=True, text=True)
    if answer.returncode != 0:
        raise SetupError(
            f"llama.cpp was compiled but does not load:\n{answer.stderr.strip()}\n"
            f"Remove {ENVIRONMENT} and the cached build (uv cache clean llama-cpp-python), then run make setup again."
        )
    say(f"llama.cpp: {answer.stdout.strip()}")


def say(message: str) -> None:
    print(f"setup: {message}", file=sys.stderr, flush=True)


def set_up() -> None:
    """Bring `.venv` to the state that uv.lock describes; raises SetupError."""
    recorded = read_stamp(STAMP)
    cmake_arguments = os.environ.get("CMAKE_ARGS", recorded.get("cmake_args", "")).strip()
    wanted = wanted_stamp(INPUTS, cmake_arguments)
    if recorded == wanted and (ENVIRONMENT / "bin" / "python").exists():
        return
    check_compilers()

    from find_uv import UvError, find_uv  # only here: it needs a Python that `supported_python` has approved

    try:
        uv = find_uv(ROOT)
    except UvError as error:
        raise SetupError(str(error)) from error
    variables, options = compile_settings(cmake_arguments, os.environ)
    say("making .venv from uv.lock; the first time compiles llama.cpp, which takes 3 to 10 minutes on 2 cores")
    begun = time.monotonic()
    command = [str(uv), "sync", "--frozen", "--no-progress", "--python", sys.executable, *options]
    if subprocess.call(command, cwd=ROOT, env=variables) != 0:
        raise SetupError("uv sync failed; its message is above. docs/install.md lists known causes and other roads.")
    check_library()
    STAMP.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")
    say(f"done in {time.monotonic() - begun:.0f} s")


def main() -> int:
    python = supported_python()
    if python is None:
        say(
            f"Python 3.{OLDEST_PYTHON[1]} to 3.{NEWEST_PYTHON[1]} is needed, this is "
            f"{sys.version_info[0]}.{sys.version_info[1]}. Install one, or name it: make setup PYTHON=/path/to/python3"
        )
        return 1
    if python != sys.executable:
        return subprocess.call([python, str(Path(__file__).resolve())])
    try:
        set_up()
    except SetupError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
