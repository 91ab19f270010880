"""The one way long work tells how far it is: a phase with steps, trials as they end, and notes."""

import os
import time
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PROGRESS_VARIABLE = "LAYERQUANT_PROGRESS"
"""Of the environment: `lines` says how far work is in plain lines, for somebody who follows them from elsewhere."""
SECONDS_A_LINE = 5.0


class Reporter(Protocol):
    def phase(self, title: str, total: int) -> None:
        """A new phase of `total` steps begins; the one before has ended."""
        ...

    def advance(self, done: int, detail: str = "") -> None:
        """`done` steps of the phase are finished."""
        ...

    def work(self, done: int, total: int, detail: str = "") -> None:
        """The step under way: `done` of `total` chunks or bytes."""
        ...

    def line(self, text: str) -> None:
        """A line that stays: a finished trial, a warning. Rich markup is understood."""
        ...

    def close(self) -> None: ...


class SilentReporter:
    """Tells nobody. `lines` keeps what would have stayed on the screen."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, title: str, total: int) -> None:
        pass

    def advance(self, done: int, detail: str = "") -> None:
        pass

    def work(self, done: int, total: int, detail: str = "") -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)

    def close(self) -> None:
        pass


class TerminalReporter:
    """Two bars at the bottom of a terminal, phase and step under way; plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._phase: TaskID | None = None
        self._step: TaskID | None = None
        self._in_lines = not console.is_terminal and os.environ.get(PROGRESS_VARIABLE) == "lines"
        self._title, self._total, self._told_at = "", 0, time.monotonic()

    def phase(self, title: str, total: int) -> None:
        for task in (self._phase, self._step):
            if task is not None:
                self._progress.remove_task(task)
        self._step = None
        self._phase = self._progress.add_task(title, total=total, detail="")
        self._progress.start()
        self._title, self._total = title, total
        if not self._console.is_terminal:
            self._console.print(f"{title} ({total})", highlight=False)

    def advance(self, done: int, detail: str = "") -> None:
        if self._phase is not None:
            self._progress.update(self._phase, completed=done, detail=detail)
        self._tell(done, self._total, detail)

    def work(self, done: int, total: int, detail: str = "") -> None:
        if self._step is None:
            self._step = self._progress.add_task("  chunks", total=total, detail=detail)
        elif done <= 1:
            self._progress.reset(self._step, total=total, completed=done)
        self._progress.update(self._step, completed=done, total=total, detail=detail)
        self._tell(done, total, detail)

    def line(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()

    def _tell(self, done: int, total: int, detail: str) -> None:
        now = time.monotonic()
        if self._in_lines and now - self._told_at >= SECONDS_A_LINE:
            self._told_at = now
            self._console.print(f"{detail or self._title}: {done:,} of {total:,}", highlight=False, markup=False)
