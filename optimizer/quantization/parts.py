"""A shard of several tensors from shards of its single ones."""

from collections.abc import Iterator

from optimizer.errors import StorageError
from optimizer.gguf.write import Chunk
from optimizer.quantization.requests import ShardRequest
from optimizer.quantization.shard import open_shard

_COPY_BYTES = 4 * 1024**2


def copy_parts(request: ShardRequest) -> Iterator[tuple[int, Chunk]]:
    """(number of the part, data) of a mix, a few MiB at a time. Raises StorageError where a part ends early."""
    for number, part in enumerate(request.parts):
        (tensor,) = open_shard(part.path, part.position, part.tensors).tensors
        with part.path.open("rb", buffering=0) as file:
            file.seek(tensor.offset)
            remaining = tensor.n_bytes
            while remaining:
                data = file.read(min(remaining, _COPY_BYTES))
                if not data:
                    raise StorageError(
                        f"{part.path} became shorter while it was copied; run again, it will be made again"
                    )
                remaining -= len(data)
                yield number, data
