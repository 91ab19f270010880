"""Shards: GGUF files that hold one tensor (or a few), a fixed split number and the checksum of their data.

llama.cpp takes a shard for part `split.no` of a split model and reads nothing else of its metadata. The checksum
covers the tensors' bytes in file order, without padding; it stands in the header, which is written last.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from optimizer import llama
from optimizer.errors import GgufError, StorageError
from optimizer.gguf.header import Header, TensorInfo, read_header
from optimizer.gguf.metadata import KeyValue, ValueType, encode_pair, string_pair
from optimizer.gguf.write import Chunk, NewTensor, header_bytes, padded

CHECKSUM_KEY = "layerquant.shard.checksum"
QUANTIZER_KEY = "layerquant.shard.quantizer"
_DIGEST_BYTES = 16
_READ_BYTES = 4 * 1024**2


class ShardDamage(Exception):
    """A shard is not what was written; whoever meets this makes it again."""


def new_digest() -> "hashlib.blake2b":
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def shard_pairs(position: int) -> tuple[KeyValue, ...]:
    return (encode_pair("split.no", ValueType.UINT16, position), string_pair(QUANTIZER_KEY, llama.quantizer_build()))


def meta_pairs(n_files: int, n_tensors: int) -> tuple[KeyValue, ...]:
    """What makes a file the first of a split model, in the types that llama.cpp insists on."""
    return (
        encode_pair("split.no", ValueType.UINT16, 0),
        encode_pair("split.count", ValueType.UINT16, n_files),
        encode_pair("split.tensors.count", ValueType.INT32, n_tensors),
    )


def write_shard(
    file: BinaryIO, pairs: Sequence[KeyValue], tensors: Sequence[NewTensor], data: Iterable[tuple[int, Chunk]]
) -> None:
    """Fill an empty file.

    Args:
        data: (number of the tensor, bytes) in order, in chunks of any size.
    """
    digest = new_digest()
    placeholder = string_pair(CHECKSUM_KEY, "0" * digest.digest_size * 2)
    start = len(header_bytes([*pairs, placeholder], tensors))
    for _, offset, chunk in placed(tensors, start, data):
        digest.update(chunk)
        write_at(file, chunk, offset)
    file.truncate(start + sum(padded(tensor.n_bytes) for tensor in tensors))
    write_at(file, header_bytes([*pairs, string_pair(CHECKSUM_KEY, digest.hexdigest())], tensors), 0)


def placed(
    tensors: Sequence[NewTensor], start: int, data: Iterable[tuple[int, Chunk]]
) -> Iterable[tuple[int, int, Chunk]]:
    """Say where each chunk belongs: (tensor, offset in the file, chunk); StorageError when a tensor gets too few or too
    many bytes.
    """
    offsets = [start]
    for tensor in tensors:
        offsets.append(offsets[-1] + padded(tensor.n_bytes))
    written = [0] * len(tensors)
    for number, chunk in data:
        yield number, offsets[number] + written[number], chunk
        written[number] += memoryview(chunk).nbytes
    for tensor, count in zip(tensors, written, strict=True):
        if count != tensor.n_bytes:
            raise StorageError(
                f"{tensor.name} got {count} bytes instead of {tensor.n_bytes}; this is a fault of the program"
            )


def write_at(file: BinaryIO, chunk: Chunk, offset: int) -> None:
    view = memoryview(chunk).cast("B")
    while view.nbytes:
        count = os.pwrite(file.fileno(), view, offset)
        view, offset = view[count:], offset + count


def open_shard(path: Path, position: int, tensors: Sequence[NewTensor]) -> Header:
    """Read a shard's header and check it against what the shard should hold; ShardDamage when it differs."""
    try:
        header = read_header(path)
    except GgufError as error:
        raise ShardDamage(str(error)) from error
    found = [(tensor.name, tensor.shape, tensor.tensor_type) for tensor in header.tensors]
    if found != [(tensor.name, tensor.shape, tensor.tensor_type) for tensor in tensors]:
        raise ShardDamage("it holds other tensors than its name says")
    if header.metadata.integer("split.no") != position:
        raise ShardDamage(f"its split.no is {header.metadata.get('split.no')}, not {position}")
    if header.size_bytes != padded(header.required_bytes):
        raise ShardDamage(f"it has {header.size_bytes} bytes, not {padded(header.required_bytes)}")
    return header


def check_data(header: Header) -> None:
    """Compare the data with the checksum in the header; ShardDamage when they differ."""
    if checksum(header.tensors) != header.metadata.text(CHECKSUM_KEY):
        raise ShardDamage("its data does not have the checksum that was written with it")


def checksum(tensors: Iterable[TensorInfo]) -> str:
    """Hex checksum of tensors' bytes as they lie on disk."""
    digest = new_digest()
    for tensor in tensors:
        with tensor.path.open("rb", buffering=0) as file:
            file.seek(tensor.offset)
            remaining = tensor.n_bytes
            while remaining:
                data = file.read(min(remaining, _READ_BYTES))
                if not data:
                    raise ShardDamage(f"{tensor.name} ends early")
                digest.update(data)
                remaining -= len(data)
    return digest.hexdigest()
