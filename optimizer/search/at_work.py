"""How many evaluators work for a study, and on how many machines: kept with it, for whoever looks from outside."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

AT_WORK = "at_work"
"""Key of a study's progress; it says nothing once the study does not run."""


@dataclass(frozen=True)
class AtWork:
    """Those that fit the study, busy or not."""

    evaluators: int
    machines: int

    @classmethod
    def of(cls, progress: Mapping[str, Any] | None) -> Self | None:
        """As it was kept; None where the study is older than this was."""
        found = (progress or {}).get(AT_WORK)
        return None if found is None else cls(found["evaluators"], found["machines"])

    def as_json(self) -> dict[str, int]:
        return asdict(self)

    def __str__(self) -> str:
        evaluators = "1 evaluator" if self.evaluators == 1 else f"{self.evaluators or 'no'} evaluators"
        return evaluators if self.machines <= 1 else f"{evaluators} on {self.machines} machines"
