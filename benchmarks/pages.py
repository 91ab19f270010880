"""Pages whose tables are made from measured figures: each stands between a comment with its name and `<!-- end -->`."""

from collections.abc import Callable, Sequence
from typing import Any


def fill(page: str, tables: Sequence[Callable[[Any], str]], figures: Any) -> str:
    """The page with every table made anew. A table's name is its function's."""
    for make in tables:
        start = f"<!-- {make.__name__} -->\n"
        before, rest = page.split(start)
        page = f"{before}{start}{make(figures)}\n{rest[rest.index('<!-- end -->') :]}"
    return page
