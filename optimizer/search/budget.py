"""Read a budget in any of its written forms and turn it into bytes.

A budget binds the exported file as it lies on disk. `4.25bpw` means bits of the whole file per parameter of the model.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from optimizer.errors import BudgetError

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_NUMBER = re.compile(r"^\s*([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([a-z]*)\s*$", re.IGNORECASE)
RANGE_POINTS = 5
"""How many budgets a range `LOW..HIGH` is searched at."""


@dataclass(frozen=True)
class Budget:
    """One budget: as it was written, and in bytes of the whole file."""

    text: str
    n_bytes: int


def parse_budget(text: str, preset_bytes: Mapping[str, int], n_parameters: int) -> Budget:
    """`IQ4_XS`, `17.9e9`, `17.9GB`, `16.67GiB` or `4.25bpw` in bytes.

    `preset_bytes` maps a preset's name to the size of the whole file it gives this model.
    """
    by_name = {name.lower(): name for name in preset_bytes}
    if text.strip().lower() in by_name:
        name = by_name[text.strip().lower()]
        return Budget(name, preset_bytes[name])
    match = _NUMBER.match(text)
    if match is None:
        raise BudgetError(_unreadable(text))
    value, unit = float(match[1]), match[2].lower()
    if not isfinite(value * max(n_parameters, 2**30)):
        raise BudgetError(_unreadable(text))
    if unit == "bpw":
        n_bytes = int(value * n_parameters / 8)
    elif unit in _UNITS:
        n_bytes = int(value * _UNITS[unit])
    else:
        raise BudgetError(_unreadable(text))
    return Budget(text.strip(), n_bytes)


def parse_budgets(text: str, preset_bytes: Mapping[str, int], n_parameters: int) -> tuple[Budget, ...]:
    """One budget, several separated by commas, or a range `LOW..HIGH` (equal ratios between neighbours)."""

    def read(part: str) -> Budget:
        return parse_budget(part, preset_bytes, n_parameters)

    if ".." in text:
        return _read_range(text, read)
    budgets = tuple(read(part) for part in text.split(",") if part.strip())
    if not budgets:
        raise BudgetError(_unreadable(text))
    return tuple(sorted({budget.n_bytes: budget for budget in budgets}.values(), key=lambda budget: budget.n_bytes))


def _read_range(text: str, read: Callable[[str], Budget]) -> tuple[Budget, ...]:
    low_text, high_text = text.split("..", 1)
    low, high = read(low_text), read(high_text)
    if low.n_bytes >= high.n_bytes or low.n_bytes <= 0:
        raise BudgetError(f"budget range {text!r}: its first end must be the smaller one; write it as LOW..HIGH")
    ratio = (high.n_bytes / low.n_bytes) ** (1 / (RANGE_POINTS - 1))
    inner = [int(low.n_bytes * ratio**step) for step in range(1, RANGE_POINTS - 1)]
    return (low, *(Budget(str(n_bytes), n_bytes) for n_bytes in inner), high)


def check_feasible(budget: Budget, smallest: int, largest: int) -> None:
    """Refuse a budget below the smallest file the search space can make, or one that even the largest leaves unused."""
    if smallest <= budget.n_bytes <= largest:
        return
    side = "below" if budget.n_bytes < smallest else "above"
    way_out = (
        "allow smaller types with --types, or raise the budget"
        if side == "below"
        else "every tensor already gets the largest type allowed: lower the budget, or allow larger types with --types"
    )
    raise BudgetError(
        f"budget {budget.text} = {budget.n_bytes:,} bytes is {side} what these types can make of this model "
        f"({show_bytes(smallest)} to {show_bytes(largest)}, {smallest:,} to {largest:,} bytes); {way_out}"
    )


def show_bytes(n_bytes: int) -> str:
    """Both readings, so that GB and GiB are never mistaken: `17.90 GB (16.67 GiB)`."""
    if n_bytes < 10**9:
        return f"{n_bytes / 1e6:.3f} MB ({n_bytes / 2**20:.3f} MiB)"
    return f"{n_bytes / 1e9:.3f} GB ({n_bytes / 2**30:.3f} GiB)"


def _unreadable(text: str) -> str:
    return (
        f"budget {text!r} cannot be read; write a preset (IQ4_XS), bytes (17.9e9, 17.9GB, 16.67GiB), "
        "bits per weight (4.25bpw), several separated by commas, or a range (3.2bpw..5.5bpw)"
    )
