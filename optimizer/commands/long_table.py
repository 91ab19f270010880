"""A table of thousands of rows, laid out here: Rich's own tables take most of a millisecond a row."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

GAP = "  "
LEAST_WIDTH = 20
"""No column is wrapped to less than this."""


@dataclass(frozen=True)
class Column:
    """`wraps`: its cells may take several lines where the terminal is too narrow."""

    title: str
    right: bool = False
    wraps: bool = False


@dataclass(frozen=True)
class Row:
    """A cell for each column; `style` as Rich writes it."""

    cells: Sequence[str]
    style: str | None = None


def print_long_table(console: Console, columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Columns as wide as their cells; a terminal too narrow for that breaks the lines that are too long for it."""
    cells = [[each if each.isprintable() else _printable(each) for each in row.cells] for row in rows]
    widths = _widths(columns, cells, console.width)
    styles = {style: Style.parse(style) for style in {"bold", *(row.style for row in rows if row.style)}}
    shown = [Segment(_line(columns, [column.title for column in columns], widths), styles["bold"]), Segment.line()]
    for row, own in zip(rows, cells, strict=True):
        style = styles[row.style] if row.style else None
        for line in _lines(columns, own, widths):
            shown += (Segment(line, style), Segment.line())
    console.print(Segments(shown), end="", soft_wrap=True)


def _printable(text: str) -> str:
    """In one line, without what would move a terminal's cursor."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], available: int) -> list[int]:
    titles = [cell_len(column.title) for column in columns]
    widths = [max(found) for found in zip(titles, *([cell_len(cell) for cell in row] for row in cells), strict=True)]
    for place in sorted((n for n, column in enumerate(columns) if column.wraps), key=lambda n: -widths[n]):
        over = sum(widths) + len(GAP) * (len(columns) - 1) - available
        widths[place] = max(min(LEAST_WIDTH, widths[place]), widths[place] - max(0, over))
    return widths


def _lines(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    if all(cell_len(cell) <= width for cell, width in zip(cells, widths, strict=True)):
        return [_line(columns, cells, widths)]
    parts = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, parts))
    filled = [[*part, *[""] * (height - len(part))] for part in parts]
    return [_line(columns, line, widths) for line in zip(*filled, strict=True)]


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = []
    for column, cell, width in zip(columns, cells, widths, strict=True):
        space = " " * (width - cell_len(cell))
        padded.append(space + cell if column.right else cell + space)
    return GAP.join(padded).rstrip()
