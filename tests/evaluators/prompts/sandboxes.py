"""Ways of running code in tests: the answers are our own, so they need no isolation."""

from dataclasses import dataclass
from pathlib import Path

from evaluators.prompts.sandbox import ProgramRun

# Takes bwrap's arguments and isolates nothing: finds the folder that becomes /task, and runs the command in it.
FAKE_BWRAP = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        --ro-bind) if [ "$3" = /task ]; then folder=$2; fi; shift 3 ;;
        --remount-ro) found=1; shift 2; [ "$1" = --remount-ro ] || break ;;
        *) shift ;;
    esac
done
cd "$folder" && exec "$@"
"""


def fake_bwrap(folder: Path, script: str = FAKE_BWRAP) -> str:
    path = folder / "bwrap"
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


@dataclass
class Recorded:
    """A sandbox that runs nothing, gives the verdict it was made with, and remembers what it was asked."""

    passed: bool | None
    solution: str = ""
    limits: tuple[int, int] = (0, 0)

    def run(self, solution: str, tests: str, *, seconds: int, memory_bytes: int) -> ProgramRun:
        self.solution, self.limits = solution, (seconds, memory_bytes)
        return ProgramRun(self.passed, "" if self.passed else "as told")
