"""Where things lie: one studies folder with the database, reports, references and the shard bank of all its studies."""

from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import StorageError
from optimizer.store import Store

DEFAULT_STUDIES = Path("studies")


@dataclass(frozen=True)
class Workplace:
    """`database`: a URL in place of the folder's own SQLite file. `bank`: a shard bank shared with other folders."""

    studies: Path = DEFAULT_STUDIES
    database: str | None = None
    bank: Path | None = None

    def prepare(self) -> None:
        try:
            self.studies.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"{self.studies}: cannot be made ({error.strerror}); choose a folder with --studies"
            ) from None

    def open_store(self) -> Store:
        self.prepare()
        return Store.open(self.database or self.studies)

    @property
    def bank_folder(self) -> Path:
        return self.bank or self.studies / "bank"

    @property
    def references(self) -> Path:
        return self.studies / "references"

    @property
    def imatrices(self) -> Path:
        """Importance matrices that searches made for themselves."""
        return self.studies / "imatrices"

    def study_folder(self, name: str) -> Path:
        """Reports, exports and the log of one study."""
        return self.studies / name
