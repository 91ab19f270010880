"""Looks at the machine before a search does, and says what to do about what it finds.

`examine` never raises: a check that fails itself becomes a finding.
"""

import os
import platform
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

import psutil

from optimizer.compiled_library import LibraryAnswer, ask_library, cpu_flags

State = Literal["ok", "warn", "fail"]

OPEN_FILES = 1100
"""A candidate with one shard a tensor opens as many files as the model has tensors: about 1,000 for 80-128 layers."""

LEAST_FREE_BYTES = 1 * 10**9
ADVISED_FREE_BYTES = 20 * 10**9
LEAST_MEMORY_BYTES = 3 * 1024**3
"""Quantizing works within 2 GiB; the rest is Python's and the evaluated model's, which is mapped and may be larger."""

CPU_FEATURES = {
    "AVX": "avx",
    "AVX2": "avx2",
    "F16C": "f16c",
    "FMA": "fma",
    "BMI2": "bmi2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "NEON": "asimd",
    "DOTPROD": "asimddp",
    "MATMUL_INT8": "i8mm",
    "SVE": "sve",
}
"""ggml's name of a feature -> the kernel's flag in /proc/cpuinfo (x86 `flags`, ARM `Features`)."""

REBUILD = "Rebuild for this machine: uv cache clean llama-cpp-python; rm -rf .venv; make setup"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding: what was looked at, how it stands, what was found, and what to do ("" for nothing)."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine(studies: Path) -> list[Check]:
    """Every check, in the order in which problems should be solved. `studies` need not exist."""
    library = ask_library()
    checks: tuple[tuple[str, Callable[[], Check]], ...] = (
        ("python", check_python),
        ("llama.cpp", lambda: check_library(library)),
        ("cpu features", lambda: check_cpu_features(library, cpu_flags(Path("/proc/cpuinfo")))),
        ("gpu", lambda: check_gpu(library, shutil.which("nvidia-smi"))),
        ("memory", lambda: check_memory(available_memory())),
        ("open files", lambda: check_open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))),
        ("studies folder", lambda: check_studies(studies)),
        ("disk", lambda: check_disk(shutil.disk_usage(nearest_folder(studies)).free, studies)),
        ("mlflow", lambda: check_mlflow(os.environ)),
    )
    return [_guarded(name, check) for name, check in checks]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # whatever a strange machine does, the other findings are still wanted
        return Check(name, "warn", f"could not be examined: {type(error).__name__}: {error}")


def check_python() -> Check:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.maxsize < 2**32:
        return Check("python", "fail", f"{found}, 32 bits", "Use a 64-bit Python: models do not fit in 32 bits.")
    return Check("python", "ok", found)


def pinned_version(package: str) -> str:
    """The version that layerquant was written against, from its own metadata; "" when that cannot be known."""
    try:
        requirements = requires("layerquant") or []
    except PackageNotFoundError:
        return ""
    exact = f"{package}=="
    return next((line.removeprefix(exact).split(";")[0].strip() for line in requirements if line.startswith(exact)), "")


def check_library(library: LibraryAnswer) -> Check:
    name = "llama.cpp"
    if library.killed_by:
        found = f"loading it ended the process: {signal_name(library.killed_by)}"
        return Check(name, "fail", found, f"It was compiled for another CPU or driver. {REBUILD}")
    if library.error:
        return Check(name, "fail", f"does not load: {library.error}", f"Install or rebuild it. {REBUILD}")
    found = f"llama-cpp-python {library.version}, backends: {', '.join(library.backends) or 'none'}"
    pinned = pinned_version("llama-cpp-python")
    if pinned and pinned != library.version:
        advice = f"layerquant calls {pinned} by its exact interface. Install that version: make setup"
        return Check(name, "warn", found, advice)
    return Check(name, "ok", found)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def check_cpu_features(library: LibraryAnswer, flags: frozenset[str]) -> Check:
    """A CPU library built without what the CPU has works, several times slower; it happens with prebuilt wheels."""
    name = "cpu features"
    if library.error:
        return Check(name, "warn", "unknown, since llama.cpp does not load")
    if not flags:
        return Check(name, "ok", f"library: {', '.join(sorted(library.features)) or 'none'}; CPU not asked")
    unused = [feature for feature, flag in CPU_FEATURES.items() if flag in flags and feature not in library.features]
    used = [feature for feature in CPU_FEATURES if feature in library.features]
    if unused:
        found = f"built without {', '.join(unused)}, which this CPU has"
        return Check(name, "warn", found, f"Evaluations are slower than they could be. {REBUILD}")
    return Check(name, "ok", f"{', '.join(used) or 'baseline'}: all that this CPU has")


def check_gpu(library: LibraryAnswer, nvidia_smi: str | None) -> Check:
    compiled = [backend for backend in library.backends if backend not in ("CPU", "BLAS", "RPC")]
    if library.offloads:
        return Check("gpu", "ok", f"usable ({', '.join(compiled) or 'backend without a name'}); use it with -ngl 999")
    if compiled:
        advice = "Check the driver (nvidia-smi) and, in a container, that the GPU is passed through."
        return Check("gpu", "warn", f"built for {', '.join(compiled)}, but no device is found", advice)
    if nvidia_smi:
        advice = 'Rebuild with it: CMAKE_ARGS="-DGGML_CUDA=on" make setup (docs/install.md).'
        return Check(
            "gpu", "warn", "this machine seems to have an NVIDIA GPU, the library is built without CUDA", advice
        )
    return Check("gpu", "ok", "none; models are evaluated on the CPU")


def available_memory() -> tuple[int, int]:
    """(total, available) bytes for this process: the machine's, or less where a control group limits it."""
    machine = psutil.virtual_memory()
    total, available = int(machine.total), int(machine.available)
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            allowed = int(Path(limit).read_text().strip())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        total, available = min(total, allowed), min(available, allowed)
    return total, available


def check_memory(memory: tuple[int, int]) -> Check:
    total, available = memory
    found = f"{available / 1024**3:.1f} GiB available of {total / 1024**3:.1f} GiB"
    if available < LEAST_MEMORY_BYTES:
        advice = "Quantizing needs up to 2 GiB and Python 0.5 GiB. Close other programs or raise the container's limit."
        return Check("memory", "warn", found, advice)
    return Check("memory", "ok", found)


def check_open_files(soft: int, hard: int) -> Check:
    """layerquant raises the soft limit up to the hard one by itself; only the hard one can stand in the way."""
    unlimited = resource.RLIM_INFINITY
    found = f"limit {'none' if soft == unlimited else soft}, at most {'any' if hard == unlimited else hard}"
    if hard != unlimited and hard < OPEN_FILES:
        advice = (
            f"Models of 80 layers and more need {OPEN_FILES}. Raise it: ulimit -Hn {OPEN_FILES} as root, "
            "LimitNOFILE= in a systemd unit, --ulimit nofile= for docker."
        )
        return Check("open files", "warn", found, advice)
    return Check("open files", "ok", found)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above that exists."""
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def check_studies(studies: Path) -> Check:
    """Write a small SQLite database in WAL mode where studies will live, and remove it again."""
    name = "studies folder"
    if studies.exists() and not studies.is_dir():
        return Check(name, "fail", f"{studies} is a file", "Name a folder: --studies DIR")
    place = nearest_folder(studies)
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".layerquant-doctor-", dir=place) as folder,
            closing(sqlite3.connect(Path(folder) / "trial.db", timeout=5)) as database,
        ):
            mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            database.execute("CREATE TABLE trial (number INTEGER)")
            database.commit()
    except (OSError, sqlite3.Error) as error:
        advice = "Make it writable, or name another folder: --studies DIR"
        return Check(name, "fail", f"{place} cannot hold a database: {error}", advice)
    if mode != "wal":
        advice = "It looks like a network drive. Use a local folder (--studies DIR) or PostgreSQL (--database URL)."
        return Check(name, "warn", f"{place}: SQLite cannot keep a write-ahead log there", advice)
    return Check(name, "ok", f"{place} is writable, SQLite {sqlite3.sqlite_version}")


def check_disk(free: int, studies: Path) -> Check:
    found = f"{free / 1e9:.1f} GB ({free / 1024**3:.1f} GiB) free for {studies}"
    advice = "The shard bank keeps each tensor once in every type tried: plan two to three times the F16 file."
    if free < LEAST_FREE_BYTES:
        return Check("disk", "fail", found, f"{advice} Free some space, or name another disk: --studies DIR")
    if free < ADVISED_FREE_BYTES:
        return Check("disk", "warn", found, f"{advice} Enough for small models.")
    return Check("disk", "ok", found)


def check_mlflow(environment: Mapping[str, str], timeout: float = 3) -> Check:
    """MLflow never stops a search; a server that does not answer only means that its pages come later."""
    try:
        found = f"MLflow {version('mlflow')}"
    except PackageNotFoundError:
        return Check("mlflow", "warn", "not installed", "Trials stay in the database. Install it: make setup")
    uri = environment.get("MLFLOW_TRACKING_URI", "")
    if not uri.startswith(("http://", "https://")):
        return Check("mlflow", "ok", f"{found}, tracking in {uri or 'the studies folder'}")
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout):
            return Check("mlflow", "ok", f"{found}, server {uri} answers")
    except (OSError, ValueError) as error:
        advice = "The search runs without it and catches up later. Start the server or correct MLFLOW_TRACKING_URI."
        return Check("mlflow", "warn", f"{found}, server {uri} does not answer: {error}", advice)
