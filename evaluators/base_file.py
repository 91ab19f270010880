"""llama-perplexity's --kl-divergence-base file, read and written.

    "_logits_" | int32 n_ctx | int32 n_vocab | int32 n_chunk | int32 tokens[n_chunk * n_ctx]
    per scored token: float32 scale | float32 lowest | uint16 code[n_vocab], padded to an even number

log p = scale * code + lowest, in 65,535 steps over at most 16 nats below the largest logit: what is less probable is
stored as if it were 16 nats below. A model scored against its own file therefore shows a mean KLD of about 5e-4
(Llama 3 8B, tools/perplexity/README.md); `evaluators.reference` has no such floor. Scoring against a file follows
llama-perplexity's float32 arithmetic, so that the printed digits agree.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators import kernel
from evaluators.comparison import TokenValues, empty_rows, require_numbers
from evaluators.errors import EvaluationInputError, ReferenceDamaged, ReferenceMismatch

MAGIC = b"_logits_"
_HEADER = struct.Struct("<8siii")
_ROW_HEADER = 4  # uint16 words: scale and lowest


@dataclass(frozen=True, slots=True)
class BaseFile:
    """An open base file; rows stay on disk until a chunk is scored."""

    path: Path
    ctx_size: int
    n_vocab: int
    n_chunks: int
    tokens: NDArray[np.int32] = field(compare=False, repr=False)

    @classmethod
    def open(cls, path: Path) -> BaseFile:
        """Raises EvaluationInputError when it is no such file, ReferenceDamaged when it is cut short."""
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
                size = os.fstat(file.fileno()).st_size
                if len(head) < _HEADER.size or not head.startswith(MAGIC):
                    raise EvaluationInputError(
                        f"{path} is no --kl-divergence-base file; give a GGUF model or what "
                        "`llama-perplexity --kl-divergence-base` wrote"
                    )
                _, ctx_size, n_vocab, n_chunks = _HEADER.unpack(head)
                if min(ctx_size - 3, n_vocab, n_chunks) < 1:
                    raise ReferenceDamaged(f"{path} says {n_chunks} chunks of {ctx_size} tokens; write it again")
                expected = file_bytes(ctx_size, n_vocab, n_chunks)
                if size != expected:
                    raise ReferenceDamaged(
                        f"{path} has {size} bytes, its header promises {expected}; it was cut short, write it again"
                    )
                tokens = np.frombuffer(file.read(4 * n_chunks * ctx_size), dtype="<i4").astype(np.int32)
        except OSError as error:
            raise EvaluationInputError(f"{path} cannot be read: {error.strerror}") from error
        return cls(path, ctx_size, n_vocab, n_chunks, tokens)

    def records(self, chunk: int) -> NDArray[np.uint16]:
        """One chunk's rows as they lie in the file: [scored tokens, row words], memory-mapped."""
        rows, words = self.ctx_size - 1 - self.ctx_size // 2, row_words(self.n_vocab)
        start = _HEADER.size + 4 * self.n_chunks * self.ctx_size + 2 * chunk * rows * words
        # Copy-on-write rather than read-only: kernels would be compiled twice for two kinds of array.
        mapped = np.memmap(self.path, dtype="<u2", mode="c", offset=start, shape=(rows, words))
        return mapped.view(np.ndarray)

    def compare(
        self, logits: NDArray[np.float32], targets: NDArray[np.int32], records: NDArray[np.uint16], first_row: int
    ) -> TokenValues:
        """logits: [rows, n_vocab] against the chunk's records from `first_row` on; targets: [rows]."""
        part = records[first_row : first_row + logits.shape[0]]
        scale, lowest = _row_numbers(part)
        kld, nll, top = empty_rows(logits.shape[0])
        kernel.base_file_rows(logits, part, scale, lowest, targets, kld, nll, top)
        require_numbers(kld, nll)
        codes = part[:, _ROW_HEADER : _ROW_HEADER + self.n_vocab]
        target_codes = np.take_along_axis(codes, targets[:, None].astype(np.int64), axis=1)[:, 0].astype(np.float32)
        reference_nll = -(scale * target_codes + lowest)
        return TokenValues(kld, nll.astype(np.float32), reference_nll, top == np.argmax(codes, axis=1))


def row_words(n_vocab: int) -> int:
    return 2 * ((n_vocab + 1) // 2) + _ROW_HEADER


def file_bytes(ctx_size: int, n_vocab: int, n_chunks: int) -> int:
    rows = n_chunks * (ctx_size - 1 - ctx_size // 2)
    return _HEADER.size + 4 * n_chunks * ctx_size + 2 * rows * row_words(n_vocab)


def is_base_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def encode_records(logits: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rows of a base file for logits [rows, n_vocab], in llama-perplexity's float32 arithmetic."""
    records = np.zeros((logits.shape[0], row_words(logits.shape[1])), dtype=np.uint16)
    scale, lowest = np.empty(logits.shape[0], dtype=np.float32), np.empty(logits.shape[0], dtype=np.float32)
    kernel.base_file_encode_rows(logits, records, scale, lowest)
    records[:, 0:2] = scale.view(np.uint16).reshape(-1, 2)
    records[:, 2:4] = lowest.view(np.uint16).reshape(-1, 2)
    return records


def write_base_file(
    path: Path, tokens: NDArray[np.int32], ctx_size: int, n_vocab: int, rows: Iterable[NDArray[np.uint16]]
) -> None:
    """Write a file from the records of all chunks in order; `rows` may give a chunk in parts.

    Raises ReferenceMismatch when the parts do not add up to the tokens' chunks; nothing is left behind then.
    """
    n_chunks = tokens.size // ctx_size
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            file.write(_HEADER.pack(MAGIC, ctx_size, n_vocab, n_chunks))
            file.write(np.ascontiguousarray(tokens[: n_chunks * ctx_size], dtype="<i4").data)
            for part in rows:
                file.write(np.ascontiguousarray(part, dtype="<u2").data)
            if file.tell() != file_bytes(ctx_size, n_vocab, n_chunks):
                raise ReferenceMismatch(
                    f"{path}: the rows given are not those of {n_chunks} chunks of {ctx_size} tokens"
                )
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _row_numbers(records: NDArray[np.uint16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    head = np.ascontiguousarray(records[:, :_ROW_HEADER]).view("<f4").astype(np.float32)
    return head[:, 0].copy(), head[:, 1].copy()
