"""Renews a lease in the background for as long as its block runs."""

import threading
from types import TracebackType
from typing import Self

from optimizer.errors import StorageError, StudyError
from optimizer.store.leases import Leases
from optimizer.store.records import Lease


class LeaseKeeper:
    """`with LeaseKeeper(store, lease):` renews every third of the lease's time and releases it at the end.

    `lost` is set once another process has the study: the search then ends, for its next write would fail anyway.
    A database that is busy or away for a moment is no loss; the renewal is tried again.
    """

    def __init__(self, store: Leases, lease: Lease) -> None:
        self.lost = threading.Event()
        self._store = store
        self._lease = lease
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="layerquant-lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._store.release_lease(self._lease)
        except StorageError:
            if error is None:
                raise

    def _renew(self) -> None:
        while not self._ended.wait(self._lease.ttl_seconds / 3):
            try:
                self._store.renew_lease(self._lease)
            except StudyError:
                self.lost.set()
                return
            except StorageError:
                continue
