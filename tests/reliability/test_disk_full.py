"""The disk full in the middle: an error that says so, nothing half-written, and the same command goes on later.

The study lies on a disk of its own, 200 MB in memory, which is filled to the last byte in the middle of the work.
Where nothing may be mounted (no root), the process may instead write no file beyond its first 4 kB from then on.
"""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.processes import FILLER, Command, Fault, run
from tests.reliability.states import NAME, end_state, half_written

SIZE = "200m"


@dataclass(frozen=True)
class Disk:
    folder: Path
    mounted: bool

    def full_at(self, function: str, call: int = 1) -> Fault:
        return Fault(function, call, harm="fill" if self.mounted else "limit", where=self.folder)

    def free(self) -> None:
        (self.folder / FILLER).unlink(missing_ok=True)


@pytest.fixture
def disk(place: Path) -> Iterator[Disk]:
    folder = place / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], capture_output=True)
    yield Disk(folder, mounted.returncode == 0)
    if mounted.returncode == 0:
        subprocess.run(["umount", folder], check=True)


def says_so(command: Command) -> None:
    """One line, of the disk and the way out, and no traceback."""
    assert command.process.exitcode == 1, command.output
    assert "Traceback" not in command.output
    assert "error: " in command.output
    assert "space" in command.output or "File too large" in command.output


@pytest.mark.parametrize(
    ("function", "call"),
    [
        pytest.param("evaluators.reference:_write_tokens", 1, marks=pytest.mark.long),
        pytest.param("optimizer.quantization.shard:write_at", 4, marks=pytest.mark.long),
        ("optimizer.store:Store.finish_trial", 2),
    ],
    ids=["reference", "bank", "database"],
)
def test_a_search(config: Path, left_alone: dict[str, Any], disk: Disk, place: Path, function: str, call: int) -> None:
    options = ["search", config, "--studies", disk.folder]
    says_so(run(options, place / "full.log", disk.full_at(function, call)))
    assert half_written(disk.folder) == []
    disk.free()
    command = run(options, place / "again.log")
    assert command.process.exitcode == 0, command.output
    assert end_state(disk.folder) == left_alone


def test_an_export_and_a_report(left_alone: dict[str, Any], memory: Path, disk: Disk, place: Path) -> None:
    studies = ["--studies", memory / "left_alone"]
    output, page = disk.folder / "winner.gguf", disk.folder / "report.html"
    export = ["export", NAME, *studies, "--as", "gguf", "-o", output]
    report = ["report", NAME, *studies, "--html", page]
    says_so(run(export, place / "export.log", disk.full_at("optimizer.quantization.join:copy_bytes", 3)))
    says_so(run(report, place / "report.log", disk.full_at("optimizer.store:Store.find_study")))
    assert [path.name for path in disk.folder.iterdir() if path.name != FILLER] == []
    disk.free()
    assert run(export, place / "export.log").process.exitcode == 0
    assert run(report, place / "report.log").process.exitcode == 0
    assert output.stat().st_size == left_alone["report"]["best"]["size_bytes"]
    assert page.read_text().rstrip().endswith("</html>")
