"""Candidates: a recipe as a list of files that llama.cpp loads as one split model, without copying a byte."""

import errno
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.splits import split_path
from optimizer.quantization.bank import Progress, ShardBank
from optimizer.quantization.file_type import file_type_of
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.jobs import check_recipe
from optimizer.quantization.leases import Lease
from optimizer.quantization.open_files import raise_open_file_limit
from optimizer.quantization.requests import KnownShards, ShardRequest, candidate_requests
from optimizer.quantization.storage import storage_errors
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe, check_whole_layers


@dataclass(frozen=True)
class Candidate:
    """Split files in order; `llama_model_load_from_splits` takes them as they are.

    The shards stay in the bank while this object lives; `close()` lets go of them earlier.
    """

    recipe: Recipe
    paths: tuple[Path, ...]
    requests: tuple[ShardRequest, ...] = field(repr=False, compare=False)
    lease: Lease = field(repr=False, compare=False)

    def close(self) -> None:
        self.lease.release()

    def __enter__(self) -> "Candidate":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def plan_candidate(
    model: ModelFile,
    recipe: Recipe,
    quantizable: Sequence[str],
    bank: ShardBank,
    imatrix: Imatrix | None = None,
    *,
    file_type: int | None = None,
    max_files: int | None = None,
    known: KnownShards | None = None,
) -> tuple[ShardRequest, ...]:
    """The shards of a candidate in split order; raises what recipe, source or imatrix would fail with later.

    Args:
        file_type: llama.cpp's ftype number for `general.file_type`; by default that of the type most weights have.
        max_files: open files that a process may have; by default what `raise_open_file_limit` reaches.
        known: see `candidate_requests`.
    """
    check_recipe(recipe.tensor_types, quantizable, model)
    check_whole_layers(recipe, model)
    made = PrunedFile.of(model, recipe)
    number = file_type_of(made.model, made.tensor_types) if file_type is None else file_type
    limit = raise_open_file_limit(len(quantizable) + 1) if max_files is None else max_files
    return candidate_requests(
        bank.root,
        model,
        recipe,
        quantizable,
        imatrix,
        number,
        limit,
        allow_requantize=bank.allow_requantize,
        known=known,
    )


def assemble(
    model: ModelFile,
    recipe: Recipe,
    quantizable: Sequence[str],
    bank: ShardBank,
    imatrix: Imatrix | None = None,
    *,
    file_type: int | None = None,
    max_files: int | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Candidate:
    """Give a recipe's candidate, making the shards that the bank lacks. `progress` counts shards."""
    requests = plan_candidate(model, recipe, quantizable, bank, imatrix, file_type=file_type, max_files=max_files)
    bank.reserve(requests)
    lease = Lease(bank.root)
    try:
        bank.ensure_all(requests, lease, progress=progress, stop=stop)
    except BaseException:
        lease.release()
        raise
    return Candidate(recipe, tuple(request.path for request in requests), requests, lease)


def link_folder(candidate: Candidate, folder: Path, name: str) -> Path:
    """Put a candidate into a folder under the names that llama.cpp's tools expect of a split model.

    Hard links where the folder is on the bank's file system, so that they outlive an eviction; symbolic links
    elsewhere.

    Returns:
        The first file: what llama-server, llama-perplexity and the like are given.
    """
    if not name or "/" in name:
        raise ConfigError(f"{name!r} cannot be a model's file name; use letters, digits, dots and dashes")
    targets = [split_path(folder, name, number, len(candidate.paths)) for number in range(len(candidate.paths))]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{_escaped(name)}-[0-9]*-of-[0-9]*.gguf"):
            old.unlink()
        for path, target in zip(candidate.paths, targets, strict=True):
            _link(path, target)
    return targets[0]


def _link(path: Path, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES):
            raise
        target.symlink_to(path.resolve())


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
