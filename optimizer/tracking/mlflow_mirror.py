"""Delivers the store's outbox to MLflow, in the background, however long MLflow is away."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from optimizer.store import EventRecord, Store
from optimizer.store.migrate import ALEMBIC_LOCK
from optimizer.tracking.background import BackgroundMirror

if TYPE_CHECKING:
    from optimizer.tracking.mlflow_runs import MlflowRuns

_LOG = logging.getLogger(__name__)
_BATCH = 20
_CLAIM = "mlflow"
_CLAIM_SECONDS = 120.0
_TRIES = 3


class MlflowMirror(BackgroundMirror):
    """A parent run for each study, a child run for each trial.

    Delivery is at least once and its effect exactly once: a run is looked up by its tag before it is made, so a kill
    between sending and marking doubles nothing. One process at a time feeds MLflow, whatever the number of searches.
    """

    def __init__(self, store: Store, tracking_uri: str | None = None, *, folder: Path | None = None) -> None:
        """`tracking_uri`: by default `mlflow.db` in `folder`, which is by default the one of the store's own file."""
        super().__init__("MLflow")
        folder = folder or store.folder or Path("studies")
        self.tracking_uri = tracking_uri or f"sqlite:///{folder.resolve() / 'mlflow.db'}"
        self._artifacts = None if "://" in self.tracking_uri and not _is_local(self.tracking_uri) else folder.resolve()
        self._store = store
        self._runs: MlflowRuns | None = None
        self._token: str | None = None
        self._refused: dict[int, int] = {}
        """Event id -> how often MLflow, though it answered, did not take it."""

    def pending(self) -> int:
        return max(0, self._store.count_pending_events() - len(self._given_up()))

    def _work(self) -> bool:
        if not self.pending():
            return False
        self._token = self._store.claim(_CLAIM, _CLAIM_SECONDS, token=self._token)
        if self._token is None:
            return False
        given_up = self._given_up()
        events = self._store.pending_events(limit=_BATCH + len(given_up))
        delivered = [event.id for event in events if event.id not in given_up and self._deliver(event)]
        return bool(delivered)

    def _deliver(self, event: EventRecord) -> bool:
        """Raises when MLflow is away; returns False when it is there, but refuses this event."""
        runs = self._connected()
        try:
            runs.deliver(event)
        except Exception as error:
            self._store.mark_undelivered(event.id, f"{type(error).__name__}: {error}")
            runs.check_reachable()
            self._refused[event.id] = self._refused.get(event.id, 0) + 1
            _LOG.warning("MLflow did not take event %d (%s): %s", event.id, event.kind, error)
            return False
        self._store.mark_delivered([event.id])
        return True

    def _connected(self) -> "MlflowRuns":
        if self._runs is None:
            from optimizer.tracking.mlflow_runs import MlflowRuns  # MLflow takes seconds to import: in this thread only

            artifacts = None if self._artifacts is None else (self._artifacts / "mlartifacts").as_uri()
            with ALEMBIC_LOCK:
                self._runs = MlflowRuns(self._store, self.tracking_uri, artifacts)
        return self._runs

    def _given_up(self) -> set[int]:
        """Until the next start, so that one event that MLflow cannot take does not hold up all later ones."""
        return {event for event, refusals in self._refused.items() if refusals >= _TRIES}

    def _end(self) -> None:
        if self._token is not None:
            self._store.release_claim(_CLAIM, self._token)


def _is_local(tracking_uri: str) -> bool:
    return tracking_uri.startswith("sqlite:")
