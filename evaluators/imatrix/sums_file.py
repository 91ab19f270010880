"""Activation sums on disk: what an interrupted run continues from, and how a whole one hands its result over.

A line of JSON (identity, chunks, names and shapes), zeros up to a multiple of 64, then for each weight its counts
(int64) and its sums (float32). Written beside, synced, renamed; read through a memory map.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluators.errors import DiskError, EvaluationInputError
from evaluators.imatrix.sums import ActivationSums, WeightSums

_FORMAT = "layerquant activation sums, 1"
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class SumsIdentity:
    """What sums depend on: two runs that agree in all of it give the same sums."""

    model: str  # the caller's name of it: a fingerprint
    text_sha256: str
    engine: str
    settings: dict[str, Any]

    def differences(self, other: SumsIdentity) -> list[str]:
        """`name: this -> other` of everything that is not equal."""
        found = [
            f"{name}: {mine} -> {theirs}"
            for name, mine, theirs in (
                ("model", self.model[:16], other.model[:16]),
                ("text", self.text_sha256[:16], other.text_sha256[:16]),
                ("llama.cpp", self.engine, other.engine),
            )
            if mine != theirs
        ]
        names = sorted({*self.settings, *other.settings})
        pairs = [(name, self.settings.get(name), other.settings.get(name)) for name in names]
        return found + [f"{name}: {mine} -> {theirs}" for name, mine, theirs in pairs if mine != theirs]


class Collected(NamedTuple):
    """What a call made: `chunks_before` of the chunks an earlier, interrupted call had done."""

    path: Path
    chunks: int
    chunks_before: int


@dataclass(frozen=True, slots=True)
class SumsFile:
    """The header of a file of sums, with the place of each weight's values."""

    path: Path
    identity: SumsIdentity
    ctx_size: int
    chunks_done: int
    shapes: tuple[tuple[str, int, int, int], ...]  # name, matrices, columns, counts
    start: int

    @classmethod
    def open(cls, path: Path) -> SumsFile:
        """Raises EvaluationInputError when the file is none, or was cut off."""
        try:
            with path.open("rb") as file:
                line = file.readline(1 << 28)
            size = path.stat().st_size
            header = json.loads(line)
            known = header["format"] == _FORMAT
            identity = SumsIdentity(**header["identity"])
            shapes = tuple((str(name), int(m), int(c), int(n)) for name, m, c, n in header["weights"])
            start = -(-len(line) // _ALIGNMENT) * _ALIGNMENT
            whole = size == start + sum(8 * n + 4 * m * c for _, m, c, n in shapes)
            numbers = int(header["ctx_size"]), int(header["chunks_done"])
        except OSError as error:
            raise EvaluationInputError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise EvaluationInputError(
                f"{path} holds no activation sums ({error}); remove it and start again"
            ) from error
        if not known or not whole:
            raise EvaluationInputError(f"{path} was cut off or made by another version; remove it and start again")
        return cls(path, identity, *numbers, shapes, start)

    def weights(self) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.float32]]]:
        """(name, counts, sums [matrices, columns]) of each weight in the file's order, mapped, not read."""
        if not self.shapes:
            return
        mapped = np.memmap(self.path, np.uint8, mode="r")
        position = self.start
        for name, matrices, columns, n_counts in self.shapes:
            middle, end = position + 8 * n_counts, position + 8 * n_counts + 4 * matrices * columns
            # Not views: counts lie at multiples of four only.
            counts = np.frombuffer(mapped[position:middle].tobytes(), np.int64)
            yield name, counts, mapped[middle:end].view(np.float32).reshape(matrices, columns)
            position = end

    def load(self) -> ActivationSums:
        """The sums as arrays of their own, to go on with."""
        found = ActivationSums()
        for name, counts, sums in self.weights():
            found.weights[name] = WeightSums(np.array(sums), np.array(counts))
        found.recognise_equals()
        return found


def write_sums(path: Path, sums: ActivationSums, identity: SumsIdentity, ctx_size: int, chunks_done: int) -> None:
    """Raises DiskError when the file cannot be written; the one before it stays then."""
    header = {
        "format": _FORMAT,
        "identity": asdict(identity),
        "ctx_size": ctx_size,
        "chunks_done": chunks_done,
        "weights": [(name, *each.sums.shape, each.counts.size) for name, each in sums.weights.items()],
    }
    line = json.dumps(header).encode() + b"\n"
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(line + bytes(-len(line) % _ALIGNMENT))
            for each in sums.weights.values():
                file.write(each.counts.data)
                file.write(each.sums.data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise DiskError(
            f"{path} cannot be written: {error.strerror}; free some space or choose another folder. "
            "What was saved before is still there"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
