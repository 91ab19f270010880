"""What a shard loses in the fake evaluator: by its tensors' types, by its name, or by its size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import exp
from pathlib import Path

import gguf

from evaluators.errors import ModelLoadError

# Damage of one shard file, in nats.
Damage = Callable[[Path], float]


def damage_of_tensors(
    table: Mapping[tuple[str, str], float] | None = None, *, weights: Mapping[str, float] | None = None
) -> Damage:
    """Damage by (tensor name, tensor type) of the GGUF tensors in a shard.

    What `table` does not name costs the tensor's weight times 4^-(bits per weight); a weight that is not given is
    drawn from the name, log-uniform between 0.02 and 0.5. Float types cost nothing.
    """

    def damage(path: Path) -> float:
        total = 0.0
        for name, tensor_type, bits in _tensors_of(path, _stamp(path)):
            if table is not None and (name, tensor_type) in table:
                total += table[name, tensor_type]
            elif bits < 16:
                weight = (weights or {}).get(name, 0.02 * 25.0 ** uniform("weight", name))
                total += weight * 4.0**-bits
        return total

    return damage


def damage_of_names(table: Mapping[str, float]) -> Damage:
    """Damage by file name, or by file name without its last suffix; other files cost nothing. No file need exist."""
    return lambda path: table.get(path.name, table.get(path.stem, 0.0))


def damage_of_sizes(weight: float = 1.0, scale: float = 65536.0) -> Damage:
    """weight * exp(-bytes / scale) a shard: larger files, less damage."""
    return lambda path: weight * exp(-path.stat().st_size / scale)


def uniform(*words: str) -> float:
    """Between 0 and 1, always the same for the same words."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return (int.from_bytes(digest[:8], "big") + 0.5) / 2.0**64


@lru_cache(maxsize=4096)
def _tensors_of(path: Path, _stamp: tuple[int, int]) -> tuple[tuple[str, str, float], ...]:
    """(name, type, bits per weight) of a GGUF file's tensors."""
    found = []
    for tensor in gguf.GGUFReader(path).tensors:
        block_size, block_bytes = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
        found.append((tensor.name, tensor.tensor_type.name, 8.0 * block_bytes / block_size))
    return tuple(found)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ModelLoadError(f"{path} does not exist") from error
    return status.st_size, status.st_mtime_ns
