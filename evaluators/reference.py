"""The reference's logits on a text, kept in a folder, one file a chunk.

    meta.json          settings, engine, text, the caller's name of the model
    tokens.npy         int32, the tokens of all chunks, before the BOS replacement
    chunk-00000.lqr    a 64-byte header, then for every scored token: nll (float64), reference's top token (int32),
                       and a row of float16(logit - largest logit of the row), renormalised when it is read

Unlike llama-perplexity's base file nothing is floored at 16 nats and the nll is exact, so a model scored against its
own reference shows a mean KLD below 1e-6 instead of 5e-4. A chunk of 255 rows x 152,000 tokens takes 78 MB; no more
than one is in use at a time. Every file is written beside and renamed, so a killed build continues where it was.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluators.errors import DiskError, EvaluationInputError, ReferenceDamaged, ReferenceMismatch
from evaluators.settings import PROTOCOL_KEYS, RuntimeSettings

FORMAT = 1
MAGIC = b"lqref\x00\x00\x01"
_HEADER = struct.Struct("<8sIIII40x")  # magic, rows, n_vocab, crc32 of all that follows the header, chunk number


@dataclass(frozen=True, slots=True)
class ReferenceChunk:
    """What one chunk's scoring needs; arrays have one row a scored token."""

    log_weights: NDArray[np.uint16]  # [rows, n_vocab], bits of float16(logit - max logit); may be a memory map
    nll: NDArray[np.float64]  # [rows], nats
    top: NDArray[np.int32]  # [rows], the most probable token, the lowest id of equals


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference folder, complete or not. Open it with `Reference.open`."""

    folder: Path
    identity: str
    text_sha256: str
    settings: RuntimeSettings
    engine: Mapping[str, Any]
    n_vocab: int
    n_chunks: int
    tokens: NDArray[np.int32] = field(compare=False, repr=False)  # [n_chunks * ctx_size]
    _verified: set[int] = field(default_factory=set, compare=False, repr=False)

    @property
    def ctx_size(self) -> int:
        return self.settings.ctx_size

    @property
    def scored_per_chunk(self) -> int:
        return self.settings.scored_per_chunk

    @classmethod
    def open(cls, folder: Path) -> Reference:
        """Raises EvaluationInputError when there is no reference, ReferenceDamaged when it cannot be read."""
        path = folder / "meta.json"
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            tokens = np.load(folder / "tokens.npy", allow_pickle=False)
        except FileNotFoundError as error:
            raise EvaluationInputError(
                f"{folder} holds no reference ({error.filename} is missing); build it first"
            ) from error
        except (ValueError, OSError, EOFError) as error:
            raise ReferenceDamaged(
                f"the reference in {folder} cannot be read ({error}); delete it and build it again"
            ) from error
        if meta.get("format") != FORMAT:
            raise ReferenceMismatch(
                f"the reference in {folder} has format {meta.get('format')}, this version reads {FORMAT}"
            )
        settings = RuntimeSettings.from_dict(meta["settings"])
        return cls(
            folder=folder,
            identity=meta["identity"],
            text_sha256=meta["text_sha256"],
            settings=settings,
            engine=meta["engine"],
            n_vocab=meta["n_vocab"],
            n_chunks=int(tokens.size) // settings.ctx_size,
            tokens=tokens,
        )

    @classmethod
    def prepare(
        cls,
        folder: Path,
        *,
        identity: str,
        text_sha256: str,
        settings: RuntimeSettings,
        engine: Mapping[str, Any],
        n_vocab: int,
        tokens: NDArray[np.int32],
    ) -> Reference:
        """Start a reference, continue one, or lengthen one; tokens: [n_chunks * ctx_size].

        Raises ReferenceMismatch when the folder holds another model's, text's or protocol's reference, ReferenceDamaged
        when the tokens there are not the text's, DiskError when the disk takes no more.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "meta.json").exists():
            kept = cls.open(folder)
            _require_same(kept, identity=identity, text_sha256=text_sha256, settings=settings, n_vocab=n_vocab)
            shared = min(kept.tokens.size, tokens.size)
            if not np.array_equal(kept.tokens[:shared], tokens[:shared]):
                raise ReferenceDamaged(
                    f"{folder}/tokens.npy does not hold the text's tokens; delete {folder}, run again"
                )
            if kept.tokens.size >= tokens.size:
                return kept
        else:
            meta = {
                "format": FORMAT,
                "identity": identity,
                "text_sha256": text_sha256,
                "settings": settings.as_dict(),
                "engine": dict(engine),
                "n_vocab": n_vocab,
            }
            _write_tokens(folder, tokens)
            _write_atomically(folder / "meta.json", json.dumps(meta, indent=1, sort_keys=True).encode())
            return cls.open(folder)
        _write_tokens(folder, tokens)
        return cls.open(folder)

    def chunk_path(self, chunk: int) -> Path:
        return self.folder / f"chunk-{chunk:05d}.lqr"

    def has_chunk(self, chunk: int) -> bool:
        try:
            return self.chunk_path(chunk).stat().st_size == chunk_bytes(self.scored_per_chunk, self.n_vocab)
        except FileNotFoundError:
            return False

    def missing_chunks(self) -> tuple[int, ...]:
        return tuple(chunk for chunk in range(self.n_chunks) if not self.has_chunk(chunk))

    def write_chunk(self, chunk: int, content: ReferenceChunk) -> None:
        body: list[NDArray[Any]] = [
            np.ascontiguousarray(content.nll, dtype=np.float64),
            np.ascontiguousarray(content.top, dtype=np.int32),
            np.ascontiguousarray(content.log_weights),
        ]
        checksum = 0
        for array in body:
            checksum = zlib.crc32(_bytes_of(array), checksum)
        header = _HEADER.pack(MAGIC, self.scored_per_chunk, self.n_vocab, checksum, chunk)
        _write_atomically(self.chunk_path(chunk), header, *map(_bytes_of, body))

    def read_chunk(self, chunk: int) -> ReferenceChunk:
        """Memory-mapped; the checksum is verified the first time this object reads the chunk.

        A damaged chunk is removed where that is allowed, so that the next `build_reference` makes it again.
        """
        path = self.chunk_path(chunk)
        rows, vocab = self.scored_per_chunk, self.n_vocab
        try:
            # Copy-on-write rather than read-only: kernels would be compiled twice for two kinds of array.
            content = np.memmap(path, dtype=np.uint8, mode="c").view(np.ndarray)
        except FileNotFoundError as error:
            raise EvaluationInputError(
                f"chunk {chunk} is not in the reference {self.folder}; build it first"
            ) from error
        except (OSError, ValueError) as error:
            raise ReferenceDamaged(
                f"{path} cannot be read ({error}); delete it and build the reference again"
            ) from error
        if content.size != chunk_bytes(rows, vocab):
            raise ReferenceDamaged(
                f"{path} has {content.size} bytes, not {chunk_bytes(rows, vocab)}; delete it and build again"
            )
        magic, found_rows, found_vocab, checksum, number = _HEADER.unpack_from(content.data)
        body = content[_HEADER.size :]
        if (magic, found_rows, found_vocab, number) != (MAGIC, rows, vocab, chunk):
            raise ReferenceDamaged(f"{path} is no chunk {chunk} of this reference; {_remove(path)}")
        if chunk not in self._verified:
            if zlib.crc32(body.data) != checksum:
                raise ReferenceDamaged(f"{path} does not match its checksum; {_remove(path)}")
            self._verified.add(chunk)
        top_start, weights_start = 8 * rows, 12 * rows
        return ReferenceChunk(
            log_weights=body[weights_start:].view(np.uint16).reshape(rows, vocab),
            nll=body[:top_start].view(np.float64),
            top=body[top_start:weights_start].view(np.int32),
        )


def chunk_bytes(rows: int, n_vocab: int) -> int:
    """Bytes of one chunk's file."""
    return _HEADER.size + rows * (8 + 4 + 2 * n_vocab)


def require_disk_space(folder: Path, needed: int) -> None:
    """Raises DiskError unless the file system of `folder` has room for that many bytes and a little more."""
    free = shutil.disk_usage(folder).free
    if needed + 64 * 2**20 > free:
        raise DiskError(
            f"the reference needs {needed / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free; "
            "use fewer chunks or another folder"
        )


def _require_same(kept: Reference, *, identity: str, text_sha256: str, settings: RuntimeSettings, n_vocab: int) -> None:
    differences = protocol_differences(kept.settings, settings)
    for name, old, new in (
        ("model", kept.identity, identity),
        ("text", kept.text_sha256, text_sha256),
        ("vocabulary", kept.n_vocab, n_vocab),
    ):
        if old != new:
            differences.append(f"{name} {old} there, {new} here")
    if differences:
        raise ReferenceMismatch(f"{kept.folder} holds another reference: {'; '.join(differences)}; use another folder")


def protocol_differences(theirs: RuntimeSettings, ours: RuntimeSettings) -> list[str]:
    """The settings that must be equal and are not, in words."""
    return [
        f"{key} {getattr(theirs, key)} there, {getattr(ours, key)} here"
        for key in PROTOCOL_KEYS
        if getattr(theirs, key) != getattr(ours, key)
    ]


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _remove(damaged: Path) -> str:
    """The way out, in words."""
    try:
        damaged.unlink(missing_ok=True)
    except OSError as error:
        return f"it cannot be removed ({error.strerror}): delete it, and run the same command again"
    return "it was removed: run the same command again, and it is made again"


def _write_tokens(folder: Path, tokens: NDArray[np.int32]) -> None:
    content = io.BytesIO()
    np.save(content, np.ascontiguousarray(tokens, dtype=np.int32), allow_pickle=False)
    _write_atomically(folder / "tokens.npy", content.getbuffer())


def _write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Raises DiskError; the file is then as it was."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise DiskError(f"{path} cannot be written: {error.strerror}; free some space and run again") from error
    finally:
        partial.unlink(missing_ok=True)
