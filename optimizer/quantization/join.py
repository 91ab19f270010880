"""One GGUF out of a recipe: joined from the shards of a candidate, or streamed straight from the source.

Tensors lie in llama-quantize's order, and without provenance the file of a stock preset equals llama-quantize's byte
for byte (tests/quantization/test_join.py). Every tensor is read back and compared before the file gets its name.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from optimizer.errors import ConfigError, StorageError
from optimizer.gguf.header import TensorInfo, read_header
from optimizer.gguf.metadata import KeyValue, string_pair
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.provenance import KEY as PROVENANCE_KEY
from optimizer.gguf.write import Chunk, NewTensor, file_bytes, header_bytes, padded
from optimizer.quantization.bank import Progress, ShardBank
from optimizer.quantization.candidate import Candidate, assemble
from optimizer.quantization.file_type import file_type_of
from optimizer.quantization.imatrix import Imatrix
from optimizer.quantization.jobs import check_recipe, tensor_job
from optimizer.quantization.rows import RowQuantizer, TensorJob
from optimizer.quantization.shard import CHECKSUM_KEY, ShardDamage, checksum, new_digest, open_shard, placed, write_at
from optimizer.quantization.storage import claimed, copy_bytes, require_space
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe, check_whole_layers

_COPY_STEP = 64 * 1024**2


def join(
    model: ModelFile,
    candidate: Candidate,
    out: Path,
    *,
    provenance: str | None = None,
    file_type: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Copy a candidate's shards into one file.

    Args:
        provenance: what `layerquant.recipe` shall hold; None writes a plain file, as llama-quantize would.
        file_type: llama.cpp's ftype number; by default that of the type most weights have.
        progress: called with bytes done and bytes in all; reading back counts as well.

    Raises:
        StorageError: the disk is too small, or what was written is not what was read.
    """
    made = PrunedFile.of(model, candidate.recipe)
    pairs = _pairs(made, provenance, file_type)
    tensors = _tensors(made)
    sources = {info.name: (info, digest) for info, digest in _shard_tensors(candidate)}
    _check_output(model, out, pairs, tensors)
    with claimed(out, replace=True) as file:
        assert file is not None
        start = _write_header(file, pairs, tensors)
        step = _Steps(progress, 2 * file_bytes(pairs, tensors), start)
        for tensor in tensors:
            info, _ = sources[tensor.name]
            with info.path.open("rb", buffering=0) as source:
                for done in range(0, tensor.n_bytes, _COPY_STEP):
                    count = min(_COPY_STEP, tensor.n_bytes - done)
                    copy_bytes(source.fileno(), info.offset + done, file.fileno(), start + done, count)
                    step(count)
            start += padded(tensor.n_bytes)
        # A shard of its own tells its checksum; tensors that share a file are read there once more.
        expected = {name: digest or checksum([info]) for name, (info, digest) in sources.items()}
        _finish(file, out, tensors, expected, step)
    return out


def quantize(
    model: ModelFile,
    recipe: Recipe,
    quantizable: Sequence[str],
    out: Path,
    *,
    bank: ShardBank | None = None,
    imatrix: Imatrix | None = None,
    provenance: str | None = None,
    file_type: int | None = None,
    allow_requantize: bool = False,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make one GGUF of a recipe: through a bank's shards when one is given, else straight from the source.

    Arguments and errors are those of `join` and of `assemble`; `threads` and `allow_requantize` are the bank's when it
    is given.
    """
    if bank is not None:
        with assemble(model, recipe, quantizable, bank, imatrix) as candidate:
            return join(model, candidate, out, provenance=provenance, file_type=file_type, progress=progress)
    check_recipe(recipe.tensor_types, quantizable, model)
    check_whole_layers(recipe, model)
    made = PrunedFile.of(model, recipe)
    types = recipe.kept_types
    sources = (model.by_name[made.origin[tensor.name]] for tensor in made.model.tensors)
    jobs = [
        tensor_job(tensor, types[tensor.name], imatrix, allow_requantize=allow_requantize)
        if tensor.name in types
        else TensorJob(tensor, tensor.tensor_type)
        for tensor in sources
    ]
    pairs = _pairs(made, provenance, file_type)
    tensors = _tensors(made)
    _check_output(model, out, pairs, tensors)
    quantizer = RowQuantizer(threads)
    try:
        with claimed(out, replace=True) as file:
            assert file is not None
            start = _write_header(file, pairs, tensors)
            step = _Steps(progress, 2 * file_bytes(pairs, tensors), start)
            digests = [new_digest() for _ in tensors]
            chunks: Iterator[tuple[int, Chunk]] = ((slab.job, slab.data.data) for slab in quantizer.slabs(jobs))
            for number, offset, chunk in placed(tensors, start, chunks):
                digests[number].update(chunk)
                write_at(file, chunk, offset)
                step(memoryview(chunk).nbytes)
            expected = {tensor.name: digest.hexdigest() for tensor, digest in zip(tensors, digests, strict=True)}
            _finish(file, out, tensors, expected, step)
    finally:
        quantizer.close()
    return out


class _Steps:
    """Adds up bytes for a progress callback."""

    def __init__(self, progress: Progress | None, total: int, done: int) -> None:
        self._progress, self._total, self._done = progress, total, done

    def __call__(self, n_bytes: int) -> None:
        self._done += n_bytes
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total)

    def finish(self) -> None:
        self(self._total)


def _pairs(made: PrunedFile, provenance: str | None, file_type: int | None) -> tuple[KeyValue, ...]:
    number = file_type_of(made.model, made.tensor_types) if file_type is None else file_type
    pairs = made.model.with_file_type(number)
    if provenance is None:
        return pairs
    # A source that layerquant made carries a block already; two of one key cannot be read.
    return *(pair for pair in pairs if pair.key != PROVENANCE_KEY), string_pair(PROVENANCE_KEY, provenance)


def _tensors(made: PrunedFile) -> list[NewTensor]:
    types = made.tensor_types
    return [NewTensor(one.name, one.shape, types.get(one.name, one.tensor_type)) for one in made.model.tensors]


def _shard_tensors(candidate: Candidate) -> Iterator[tuple[TensorInfo, str | None]]:
    for request in candidate.requests:
        try:
            header = open_shard(request.path, request.position, request.tensors)
        except ShardDamage as damage:
            raise StorageError(f"shard {request.path} was damaged while in use ({damage}); run again") from damage
        alone = len(header.tensors) == 1
        for info in header.tensors:
            yield info, header.metadata.text(CHECKSUM_KEY) if alone else None


def _check_output(model: ModelFile, out: Path, pairs: Sequence[KeyValue], tensors: Sequence[NewTensor]) -> None:
    if out.is_dir():
        raise ConfigError(f"{out} is a folder; name the file to write")
    if out.exists() and any(out.samefile(path) for path in model.paths):
        raise ConfigError(f"{out} is the source model itself; choose another name for the output")
    require_space(out.absolute().parent, file_bytes(pairs, tensors), out.name)


def _write_header(file: BinaryIO, pairs: Sequence[KeyValue], tensors: Sequence[NewTensor]) -> int:
    header = header_bytes(pairs, tensors)
    write_at(file, header, 0)
    return len(header)


def _finish(file: BinaryIO, out: Path, tensors: Sequence[NewTensor], expected: Mapping[str, str], step: _Steps) -> None:
    """Give the file its length, read every tensor back from it and compare."""
    part = out.with_name(out.name + ".part")
    end = os.fstat(file.fileno()).st_size
    file.truncate(padded(end))
    header = read_header(part)
    found = [NewTensor(info.name, info.shape, info.tensor_type) for info in header.tensors]
    if found != list(tensors):
        raise StorageError(f"{out}: its header read back differs from what was written; the disk may be failing")
    for info in header.tensors:
        if checksum([info]) != expected[info.name]:
            raise StorageError(f"{out}: {info.name} read back differs from what was written; the disk may be failing")
        step(info.n_bytes)
    step.finish()
