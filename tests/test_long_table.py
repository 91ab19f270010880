"""The table of `layerquant trials`, laid out as Rich would lay it out."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from optimizer.commands.long_table import Column, Row, print_long_table

COLUMNS = (Column("number", right=True), Column("recipe", wraps=True), Column("KLD"))
ROWS = [
    Row(("0", "IQ4_XS", "0.1000 ± 0.01"), "bold green"),
    Row(("10000", "混合 mix", "")),
    Row(("7", "", "[b] out of memory"), "dim"),
]


def shown(rows: list[Row], width: int = 80, *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    print_long_table(console, COLUMNS, rows)
    return file.getvalue()


def test_it_looks_as_richs_own() -> None:
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column.title, justify="right" if column.right else "left")
    for row in ROWS:
        table.add_row(*(cell.replace("[", "\\[") for cell in row.cells))
    file = io.StringIO()
    Console(file=file, width=80).print(table)
    assert shown(ROWS).splitlines() == [line.rstrip() for line in file.getvalue().splitlines()]


def test_styles_are_for_terminals() -> None:
    title, green, plain, dim = shown(ROWS, terminal=True).splitlines()
    assert title.startswith("\x1b[1m")
    assert green.startswith("\x1b[1;32m")
    assert "\x1b" not in plain
    assert dim.startswith("\x1b[2m")
    assert "\x1b" not in shown(ROWS)


def test_a_narrow_terminal_breaks_what_may_be_broken() -> None:
    text = shown([Row(("1", "the quick brown fox jumps over the lazy dog", "0.5"))], width=40)
    assert text.splitlines() == [
        "number  recipe                       KLD",
        "     1  the quick brown fox jumps    0.5",
        "        over the lazy dog",
    ]


@pytest.mark.parametrize("width", [5, 30])
def test_nothing_is_left_out_where_there_is_no_room(width: int) -> None:
    text = shown([Row(("123456", "the quick brown fox jumps over", "0.123456 ± 0.1"))], width=width)
    assert "0.123456 ± 0.1" in text
    assert "".join(text.split()).endswith("jumpsover")


def test_what_would_move_the_cursor_is_left_out() -> None:
    text = shown([Row(("1", "ends\nin\tthree\x1b[2J lines", "0.5"))])
    assert text.splitlines()[1] == "     1  ends in three [2J lines  0.5"


def test_without_rows_there_are_titles() -> None:
    assert shown([]) == "number  recipe  KLD\n"
