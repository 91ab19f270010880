"""A study's model on a worker's machine: by its fingerprint, whatever the file is called there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from optimizer.errors import GgufError
from optimizer.execution.problems import WorkerRefused
from optimizer.execution.setup import StudySetup
from optimizer.gguf.model_file import ModelFile


def find_model(setup: StudySetup, folders: Sequence[str]) -> ModelFile:
    """Where the coordinator has it, else in the folders. Raises WorkerRefused."""
    for path in _candidates(setup, folders):
        try:
            model = ModelFile.open(path)
        except (GgufError, OSError):
            continue
        if model.size_bytes == setup.model_bytes and model.fingerprint == setup.fingerprint:
            return model
    places = ", ".join([str(Path(setup.model_paths[0])), *folders])
    raise WorkerRefused(
        f"the model {Path(setup.model_paths[0]).name} (fingerprint {setup.fingerprint[:12]}) is not there: looked at "
        f"{places}; copy it there, or start the worker with --models and the folder that holds it"
    )


def _candidates(setup: StudySetup, folders: Sequence[str]) -> Iterator[Path]:
    """Those of the same name first."""
    hint = Path(setup.model_paths[0])
    if hint.exists():
        yield hint
    found = [path for folder in folders for path in sorted(Path(folder).rglob("*.gguf"))]
    yield from sorted(found, key=lambda path: path.name != hint.name)
