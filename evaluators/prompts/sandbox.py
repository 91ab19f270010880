"""Runs a model's program where it can do no harm: bubblewrap, no network, nothing writable, limits on time and memory.

The limits are set inside, before the program is read, as hard limits that it cannot raise; the clock is watched from
outside. Where bubblewrap is missing or the kernel does not allow it, nothing is run at all.
"""

from __future__ import annotations

import functools
import secrets
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

DRIVER = """\
import resource, sys
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_NPROC, (16, 16))
passed = sys.stdin.readline()
space = {"__name__": "solution"}
with open("solution.py", encoding="utf-8") as file:
    exec(compile(file.read(), "solution.py", "exec"), space)
with open("tests.py", encoding="utf-8") as file:
    exec(compile(file.read(), "tests.py", "exec"), space)
sys.stdout.write("\\n" + passed)
sys.stdout.flush()
"""

# The interpreter itself, not a virtual environment's link to it: no package is needed inside.
PYTHON = str(Path(sys.executable).resolve())
KILLED = (-9, 128 + 9)  # by the kernel at the limit of processor time; bubblewrap passes it on as the second


@dataclass(frozen=True, slots=True)
class ProgramRun:
    """`passed` is None where no sandbox can be had; `reason` is empty where it passed."""

    passed: bool | None
    reason: str = ""


class Sandbox(Protocol):
    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        """Runs Python `tests` behind Python `solution`, in one name space; passed: no exception came to the end."""
        ...


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """`bwrap --unshare-all`: Python and the system's libraries read-only, no network, no home, an empty environment."""

    program: str = "bwrap"

    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        missing = why_unavailable(self.program)
        if missing:
            return ProgramRun(None, missing)
        with tempfile.TemporaryDirectory(prefix="layerquant-code-") as name:
            folder = Path(name)
            for file, content in (("driver.py", DRIVER), ("solution.py", solution), ("tests.py", tests)):
                (folder / file).write_text(content, encoding="utf-8", errors="replace")
            return self._run(folder, seconds, memory_bytes)

    def _run(self, folder: Path, seconds: int, memory_bytes: int) -> ProgramRun:
        # The program cannot pass by ending early: only what runs behind the tests prints this line.
        passed = secrets.token_hex(16)
        command = [
            *sandbox_command(self.program, folder), PYTHON, "-I", "-S", "-B", "driver.py",
            str(seconds), str(memory_bytes),
        ]  # fmt: skip
        # Files, not pipes: a program that prints without end meets the limit on file sizes instead of our memory.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=errors)
            try:
                process.communicate(f"{passed}\n".encode(), timeout=2 * seconds + 5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return ProgramRun(False, f"the code ran for more than {2 * seconds + 5} s")
            output.seek(0)
            errors.seek(0)
            if process.returncode == 0 and output.read().endswith(f"\n{passed}\n".encode()):
                return ProgramRun(True)
            last = errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        if process.returncode in KILLED:
            return ProgramRun(False, f"the code was killed; it may take {seconds} s of processor time")
        said = last[0][:200] if last else f"ended with code {process.returncode} before its tests were done"
        return ProgramRun(False, f"the code fails its tests: {said}")


def sandbox_command(program: str, folder: Path) -> list[str]:
    """bwrap and its arguments; `folder` becomes `/task`."""
    command = [program, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
    command += ["--ro-bind", "/usr", "/usr"]
    for path in ("/lib", "/lib64", "/bin", "/etc/ld.so.cache"):
        command += ["--ro-bind-try", path, path]
    for needed in dict.fromkeys((sys.base_prefix, str(Path(PYTHON).parent))):
        if not Path(needed).is_relative_to("/usr"):
            command += ["--ro-bind", needed, needed]
    return [*command, "--proc", "/proc", "--dev", "/dev", "--ro-bind", str(folder), "/task", "--chdir", "/task",
            "--remount-ro", "/dev", "--remount-ro", "/"]  # fmt: skip


@functools.cache
def why_unavailable(program: str) -> str:
    """Empty where programs can be run here; else why they cannot. Asked once a process."""
    if shutil.which(program) is None:
        return f"no sandbox: {program} is not installed (bubblewrap runs on Linux only)"
    try:
        with tempfile.TemporaryDirectory(prefix="layerquant-code-") as folder:
            command = [*sandbox_command(program, Path(folder)), PYTHON, "-I", "-S", "-c", "pass"]
            tried = subprocess.run(command, capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no sandbox: {program} does not start: {error}"
    if tried.returncode:
        said = tried.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return f"no sandbox: {program} does not work here: {said[0] if said else f'code {tried.returncode}'}"
    return ""
