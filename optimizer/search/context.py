"""What all phases of a running search share, and what ends it early."""

from dataclasses import dataclass, field

from optimizer.search.planning import Plan
from optimizer.search.stored_progress import StoredProgress
from optimizer.store import Lease, Store, StudyRecord


class StopRequested(Exception):
    """Somebody asked the search to stop; everything measured so far is kept."""


@dataclass(frozen=True)
class SearchContext:
    """What all phases share. `check_stop` is called between evaluations."""

    store: Store
    study: StudyRecord
    lease: Lease
    plan: Plan
    reporter: StoredProgress
    interrupted: list[bool] = field(default_factory=lambda: [False])

    def check_stop(self) -> None:
        if self.interrupted[0] or self.store.stop_requested(self.study.id):
            raise StopRequested


@dataclass(frozen=True)
class Limits:
    """When proposing ends: at a time.monotonic(), or at so many evaluated tokens of the study; None: never."""

    deadline: float | None = None
    tokens: int | None = None
