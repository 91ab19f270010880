"""Which shards a recipe needs, and under which names they lie in a bank. Nothing is read or written here."""

import hashlib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from optimizer import llama
from optimizer.gguf.header import TensorInfo
from optimizer.gguf.metadata import KeyValue, string_pair
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.write import NewTensor, file_bytes
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.jobs import tensor_job
from optimizer.quantization.rows import TensorJob
from optimizer.quantization.shard import CHECKSUM_KEY, meta_pairs, shard_pairs
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class ShardRequest:
    """One file of a candidate: its place in the bank and everything needed to make it.

    A shard with `parts` is a copy: of several one-tensor shards in one file (a mix), for systems that allow few open
    files; or of one under the name and number that its tensor has once layers are pruned.
    """

    path: Path
    position: int
    jobs: tuple[TensorJob, ...]
    pairs: tuple[KeyValue, ...]
    parts: tuple["ShardRequest", ...] = ()

    @property
    def tensors(self) -> list[NewTensor]:
        return [NewTensor(job.tensor.name, job.tensor.shape, job.tensor_type) for job in self.jobs]

    @property
    def n_bytes(self) -> int:
        """Of the whole file."""
        return file_bytes([*self.pairs, string_pair(CHECKSUM_KEY, "0" * 32)], self.tensors)


KnownShards = MutableMapping[tuple[str, str], ShardRequest]
"""(tensor, type) -> its shard."""


def model_folder(root: Path, model: ModelFile) -> Path:
    """Shards of one model made by one build of ggml; another build may round differently."""
    return root / f"{model.fingerprint[:16]}-{_short(llama.quantizer_build().encode(), 8)}"


def shard_request(
    root: Path,
    model: ModelFile,
    tensor: TensorInfo,
    tensor_type: str,
    position: int,
    imatrix: Imatrix | None = None,
    *,
    allow_requantize: bool = False,
) -> ShardRequest:
    """A one-tensor shard. Raises what `tensor_job` raises."""
    job = tensor_job(tensor, tensor_type, imatrix, allow_requantize=allow_requantize)
    name = f"{position:05d}-{quote(tensor.name, safe='')}-{tensor_type}"
    if job.importance is not None and imatrix is not None:
        name += f"-{imatrix.vector_sha256(tensor.name)[:16]}"
    return ShardRequest(model_folder(root, model) / f"{name}.gguf", position, (job,), _shard_pairs(position))


def candidate_requests(
    root: Path,
    model: ModelFile,
    recipe: Recipe,
    quantizable: Sequence[str],
    imatrix: Imatrix | None,
    file_type: int,
    max_files: int,
    *,
    allow_requantize: bool = False,
    known: KnownShards | None = None,
) -> tuple[ShardRequest, ...]:
    """All files of a candidate in split order: the meta shard, then one shard a tensor, or mixes where `max_files` is
    too small. Where the recipe prunes layers, the tensors behind them are copies of the source's own shards.

    Args:
        known: filled, and asked first; one for each root, model, list of quantizable tensors and imatrix.
    """
    types, own = recipe.kept_types, {}
    known = {} if known is None else known
    for number, name in enumerate(quantizable):
        if name not in types:
            continue
        key = name, types[name]
        if key not in known:
            tensor = model.by_name[name]
            known[key] = shard_request(
                root, model, tensor, types[name], number + 1, imatrix, allow_requantize=allow_requantize
            )
        own[name] = known[key]
    made = PrunedFile.of(model, recipe)
    names = made.quantizable(quantizable)
    shards = tuple(
        _renamed(own[made.origin[name]], made.model.by_name[name], number + 1) for number, name in enumerate(names)
    )
    if len(shards) + 1 > max_files:
        shards = _mixes(shards, max(1, max_files - 1))
    return meta_request(root, made.model, names, file_type, len(shards) + 1), *shards


def _renamed(own: ShardRequest, tensor: TensorInfo, position: int) -> ShardRequest:
    """The shard under the name and number that its tensor has in a pruned file; itself where they are its own."""
    (job,) = own.jobs
    if (tensor.name, position) == (job.tensor.name, own.position):
        return own
    path = own.path.with_name(f"{position:05d}-{quote(tensor.name, safe='')}-as-{own.path.name}")
    return ShardRequest(path, position, (TensorJob(tensor, job.tensor_type),), _shard_pairs(position), (own,))


def meta_request(
    root: Path, model: ModelFile, quantizable: Sequence[str], file_type: int, n_files: int
) -> ShardRequest:
    """The first file: all metadata, and the tensors that stay as they are (norms, biases, routers)."""
    changing = set(quantizable)
    kept = tuple(TensorJob(tensor, tensor.tensor_type) for tensor in model.tensors if tensor.name not in changing)
    pairs = model.with_file_type(file_type, meta_pairs(n_files, len(model.tensors)))
    names = "\n".join(job.tensor.name for job in kept).encode()
    path = model_folder(root, model) / f"{0:05d}-meta-{n_files}-{file_type}-{_short(names, 8)}.gguf"
    return ShardRequest(path, 0, kept, pairs)


def _mixes(shards: Sequence[ShardRequest], n_files: int) -> tuple[ShardRequest, ...]:
    size = -(-len(shards) // n_files)
    mixes = []
    for position, first in enumerate(range(0, len(shards), size), start=1):
        taken = shards[first : first + size]
        names = "\n".join(each.path.name for each in taken).encode()
        path = taken[0].path.with_name(f"{position:05d}-mix-{size}-{_short(names, 32)}.gguf")
        jobs = tuple(job for each in taken for job in each.jobs)
        parts = tuple(part for each in taken for part in (each.parts or (each,)))
        mixes.append(ShardRequest(path, position, jobs, _shard_pairs(position), parts))
    return tuple(mixes)


@cache
def _shard_pairs(position: int) -> tuple[KeyValue, ...]:
    return shard_pairs(position)


def _short(data: bytes, length: int) -> str:
    return hashlib.sha256(data).hexdigest()[:length]
