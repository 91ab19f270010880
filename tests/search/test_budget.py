import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import BudgetError
from optimizer.search.budget import Budget, check_feasible, parse_budget, parse_budgets, show_bytes

PRESETS = {"IQ4_XS": 17_900_000_000, "Q3_K_M": 15_900_000_000}
PARAMETERS = 32_000_000_000


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("IQ4_XS", 17_900_000_000),
        ("iq4_xs", 17_900_000_000),
        ("17.9e9", 17_900_000_000),
        ("17900000000", 17_900_000_000),
        ("17.9GB", 17_900_000_000),
        ("17.9 gb", 17_900_000_000),
        ("16.67GiB", int(16.67 * 2**30)),
        ("4.25bpw", 17_000_000_000),
    ],
)
def test_every_written_form(text: str, n_bytes: int) -> None:
    assert parse_budget(text, PRESETS, PARAMETERS).n_bytes == n_bytes


@pytest.mark.parametrize("text", ["", "Q9_K", "12XB", "-3GB", "4.25 bits", "vram", "nan"])
def test_unreadable_says_what_can_be_written(text: str) -> None:
    with pytest.raises(BudgetError, match="bits per weight"):
        parse_budget(text, PRESETS, PARAMETERS)


def test_range_has_equal_ratios_and_both_ends() -> None:
    budgets = [budget.n_bytes for budget in parse_budgets("3.2bpw..5.5bpw", PRESETS, PARAMETERS)]
    assert budgets[0] == int(3.2 * PARAMETERS / 8)
    assert budgets[-1] == int(5.5 * PARAMETERS / 8)
    ratios = [b / a for a, b in itertools.pairwise(budgets)]
    assert max(ratios) / min(ratios) < 1.0001


def test_list_is_sorted_and_without_doubles() -> None:
    found = parse_budgets("17.9GB, Q3_K_M,IQ4_XS", PRESETS, PARAMETERS)
    assert [budget.n_bytes for budget in found] == [15_900_000_000, 17_900_000_000]


def test_range_the_wrong_way_round() -> None:
    with pytest.raises(BudgetError, match=r"LOW\.\.HIGH"):
        parse_budgets("5bpw..4bpw", PRESETS, PARAMETERS)


@pytest.mark.parametrize("n_bytes", [99, 201])
def test_infeasible_prints_the_range(n_bytes: int) -> None:
    with pytest.raises(BudgetError, match=r"100 to 200 bytes"):
        check_feasible(Budget("x", n_bytes), 100, 200)


@given(st.integers(1, 10**13))
def test_bytes_survive_writing_them(n_bytes: int) -> None:
    assert parse_budget(str(n_bytes), {}, 1).n_bytes == n_bytes


def test_shown_in_both_units() -> None:
    assert show_bytes(17_900_000_000) == "17.900 GB (16.671 GiB)"
    assert show_bytes(4_200_000) == "4.200 MB (4.005 MiB)"
