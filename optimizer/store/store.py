"""The store: everything that layerquant keeps, behind one object."""

from collections.abc import Callable
from pathlib import Path
from typing import Self

from optimizer.store.behaviours import Behaviours
from optimizer.store.location import database_url
from optimizer.store.outbox import Outbox
from optimizer.store.overview import Overview
from optimizer.store.patience import Patience, patient
from optimizer.store.removal import Removal
from optimizer.store.studies import Studies
from optimizer.store.trials import Trials


@patient
class Store(Trials, Studies, Outbox, Overview, Behaviours, Removal):
    """`Trials` brings the catalogue, `Studies` the leases. Safe to use from several threads and processes."""

    @classmethod
    def open(
        cls, url_or_path: str | Path, *, patience_seconds: float = 0.0, say: Callable[[str], None] | None = None
    ) -> Self:
        """A database URL, a file, or the studies' folder (its `layerquant.db`). Made or migrated where needed.

        patience_seconds: once open, a database that goes away is waited for so long, by every call; `say` is told.
        Raises StorageError for a database that is newer, damaged, another program's or not writable, and at once for
        a server that does not answer.
        """
        store = cls(database_url(url_or_path))
        store.patience = Patience(patience_seconds, say)
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
