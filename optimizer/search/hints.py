"""What a wider space is expected to give, as a study keeps it and as status and report show it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

ASSUMED_SPREAD = 0.10
"""Until a study's own trials tell: the sum over units was within 2 to 8 % of the whole mix on small models."""
UNPROBED_ERROR = 0.43
"""Root mean square of ln(measured / interpolated over bits) of IQ3_S, IQ4_XS and IQ4_NL on the demo model."""


@dataclass(frozen=True)
class Hint:
    """`ratio`: KLD forecast with the change over that without it. `unprobed`: share of its damage without a probe."""

    budget: str
    budget_bytes: int
    change: str
    ratio: float
    unprobed: float
    note: str = ""

    def with_error(self, spread: float | None) -> dict[str, Any]:
        """As status and report show it: `low` and `high` are one standard error away."""
        error = math.hypot(ASSUMED_SPREAD if spread is None else spread, UNPROBED_ERROR * self.unprobed)
        return {
            "budget": self.budget,
            "change": self.change,
            "expected_ratio": self.ratio,
            "low": self.ratio * math.exp(-error),
            "high": self.ratio * math.exp(error),
            "error_from": "assumed" if spread is None else "trials",
            "note": self.note,
        }


def keep_form(hints: Sequence[Hint]) -> list[dict[str, Any]]:
    """As a study's progress keeps them."""
    return [asdict(hint) for hint in hints]


def kept_hints(kept: Sequence[Mapping[str, Any]] | None) -> list[Hint]:
    """The reverse of `keep_form`; none where nothing was kept, as without probes."""
    return [Hint(**each) for each in kept or ()]
