"""What a study needs of a worker, by digests: paths are hints, for machines that share them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from evaluators.settings import RuntimeSettings


@dataclass(frozen=True)
class FileName:
    """A file by its digest; `path` is where it lies on the coordinator's machine, and perhaps here as well."""

    sha256: str
    path: str


@dataclass(frozen=True)
class StudySetup:
    """What a worker must open to score the recipes of a study.

    model_paths: hints; the fingerprint decides. imatrix: its `sha256` is that of its values. engine: identity of the
    engine that all scores of the study come from; None: any, the worker is only asked what it has.
    """

    fingerprint: str
    model_bytes: int
    model_paths: tuple[str, ...]
    quantizable: tuple[str, ...]
    imatrix: FileName | None
    settings: RuntimeSettings
    allow_requantize: bool = False
    engine: str | None = None


@dataclass(frozen=True)
class ReferenceName:
    """Reference logits of the model on the first `chunks` chunks of a text; they are made where they are missing."""

    name: str
    text: FileName
    chunks: int


def digest_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
