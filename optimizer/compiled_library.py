"""Asks the compiled llama.cpp what it was built with, in a child process.

A library built for another CPU ends its process (illegal instruction) instead of raising, so it is never loaded here.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TRIAL = """
import json, llama_cpp
print(json.dumps({
    "version": llama_cpp.__version__,
    "system": llama_cpp.llama_print_system_info().decode(errors="replace"),
    "gpu": bool(llama_cpp.llama_supports_gpu_offload()),
    "memory_map": bool(llama_cpp.llama_supports_mmap()),
}))
"""


@dataclass(frozen=True, slots=True)
class LibraryAnswer:
    """What the compiled library said of itself, or why it said nothing."""

    version: str = ""
    features: frozenset[str] = frozenset()
    backends: tuple[str, ...] = ()
    offloads: bool = False
    error: str = ""
    killed_by: int = 0
    """The signal that ended the child process; 0 when it ended by itself."""


def ask_library(python: str = sys.executable, timeout: float = 120) -> LibraryAnswer:
    """Load llama-cpp-python in a child process and ask what it was built with."""
    try:
        child = subprocess.run([python, "-c", _TRIAL], capture_output=True, text=True, timeout=timeout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return LibraryAnswer(error=str(error))
    if child.returncode != 0:
        lines = child.stderr.strip().splitlines()
        return LibraryAnswer(error=lines[-1] if lines else "no message", killed_by=max(0, -child.returncode))
    try:
        answer = json.loads(child.stdout.strip().splitlines()[-1])
        features, backends = parse_system_info(answer["system"])
        return LibraryAnswer(answer["version"], features, backends, answer["gpu"])
    except (ValueError, KeyError, IndexError) as error:
        return LibraryAnswer(error=f"unreadable answer: {error}")


def parse_system_info(text: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """`CUDA : ARCHS = 890 | CPU : AVX = 1 | AVX2 = 1 | ` -> (CPU features, backends)."""
    features: set[str] = set()
    backends: list[str] = []
    for part in text.split(" | "):
        head, colon, rest = part.partition(" : ")
        if colon:
            backends.append(head.strip())
        setting = (rest if colon else head).partition(" = ")
        if backends and backends[-1] == "CPU" and setting[2].strip() not in ("", "0"):
            features.add(setting[0].strip())
    return frozenset(features), tuple(backends)


def cpu_flags(cpuinfo: Path) -> frozenset[str]:
    """The features of this CPU as the Linux kernel names them; empty where there is no such file (macOS)."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
