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
    def open(cls, url_or_path: str | Path) -> Self:
        """A database URL, a file, or the studies' folder (its `layerquant.db`). Made or migrated where needed.

        Raises StorageError for a database that is newer, damaged, another program's or not writable, and for a server
        that does not answer.
        """
        return cls(database_url(url_or_path))

    def wait_when_away(self, seconds: float, say: Callable[[str], None]) -> None:
        """From now on every call waits for a database that cannot be reached, for so long at most; `say` is told.

        Without it, such a call raises StorageError at once.
        """
        self.patience = Patience(seconds, say)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
