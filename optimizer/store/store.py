"""The store: everything that layerquant keeps, behind one object."""

from pathlib import Path
from typing import Self

from optimizer.store.behaviours import Behaviours
from optimizer.store.database import database_url
from optimizer.store.outbox import Outbox
from optimizer.store.overview import Overview
from optimizer.store.removal import Removal
from optimizer.store.studies import Studies
from optimizer.store.trials import Trials


class Store(Trials, Studies, Outbox, Overview, Behaviours, Removal):
    """`Trials` brings the catalogue, `Studies` the leases. Safe to use from several threads and processes."""

    @classmethod
    def open(cls, url_or_path: str | Path) -> Self:
        """A database URL, a file, or the studies' folder (its `layerquant.db`). Made or migrated where needed.

        Raises StorageError for a database that is newer, damaged, another program's or not writable.
        """
        return cls(database_url(url_or_path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
