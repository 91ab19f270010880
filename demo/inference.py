"""The demo model under llama.cpp: quantize it, read its logits, decode prompts greedily. The module's only ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import numpy as np
from numpy.typing import NDArray

THREADS = 2
silent = llama_cpp.llama_log_callback(lambda *_: None)


@dataclass(frozen=True)
class Generation:
    """Token ids after the prompt, without the end token; ``stopped``: the model ended by itself."""

    tokens: list[int]
    text: str
    stopped: bool


def quantize(
    source: Path, target: Path, ftype: str, overrides: Sequence[tuple[str, str]] = (), outer: str | None = None
) -> None:
    """``overrides``: (regular expression, ggml type) per tensor; ``outer``: the type of embedding and output."""
    llama_cpp.llama_log_set(silent, None)
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.nthread = THREADS
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{ftype}")
    rows = (llama_cpp.llama_model_tensor_override * (len(overrides) + 1))()
    for row, (pattern, tensor_type) in zip(rows, overrides, strict=False):
        row.pattern, row.type = pattern.encode(), getattr(llama_cpp, f"GGML_TYPE_{tensor_type}")
    if overrides:
        parameters.tt_overrides = rows
    if outer is not None:
        parameters.token_embedding_type = parameters.output_tensor_type = getattr(llama_cpp, f"GGML_TYPE_{outer}")
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(parameters))
    if code != 0:
        raise RuntimeError(f"llama.cpp could not quantize {source} to {ftype} (code {code})")


class Runner:
    """One GGUF with ``sequences`` parallel sequences of ``context`` tokens each."""

    def __init__(self, path: Path, context: int, sequences: int) -> None:
        llama_cpp.llama_log_set(silent, None)
        llama_cpp.llama_backend_init()
        self.context, self.sequences = context, sequences
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.vocabulary_size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = context * sequences, sequences
        parameters.n_batch = parameters.n_ubatch = context
        parameters.n_threads = parameters.n_threads_batch = THREADS
        self.handle = llama_cpp.llama_init_from_model(self.model, parameters)
        self.memory = llama_cpp.llama_get_memory(self.handle)
        self.batch = llama_cpp.llama_batch_init(context, 0, 1)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.handle)
        llama_cpp.llama_model_free(self.model)

    def tokenize(self, text: str) -> list[int]:
        encoded = text.encode()
        tokens = (llama_cpp.llama_token * (len(encoded) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, encoded, len(encoded), tokens, len(tokens), True, False)
        return list(tokens[:count])

    def text(self, tokens: Sequence[int]) -> str:
        return b"".join(map(self.piece, tokens)).decode(errors="replace")

    def piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(64)
        length = llama_cpp.llama_token_to_piece(self.vocabulary, token, buffer, len(buffer), 0, True)
        return buffer.raw[:length]

    def decode(self, rows: Sequence[tuple[int, int, int, bool]]) -> NDArray[np.float32]:
        """Rows of (token, position, sequence, wants logits) to the wanted logits, in order: (wanted, vocabulary)."""
        batch = self.batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[index], batch.pos[index], batch.logits[index] = token, position, wanted
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
        if llama_cpp.llama_decode(self.handle, batch) != 0:
            raise RuntimeError("llama.cpp could not decode a batch")
        shape = (sum(row[3] for row in rows), self.vocabulary_size)
        return np.ctypeslib.as_array(llama_cpp.llama_get_logits(self.handle), shape=shape).copy()

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """All logits of one chunk of at most ``context`` tokens."""
        llama_cpp.llama_memory_clear(self.memory, True)
        return self.decode([(token, position, 0, True) for position, token in enumerate(tokens)])

    def generate(self, prompts: Sequence[str], max_tokens: int) -> list[Generation]:
        """Greedy continuations, ``sequences`` prompts at a time."""
        llama_cpp.llama_memory_clear(self.memory, True)
        waiting = list(enumerate(prompts))[::-1]
        found: dict[int, Generation] = {}
        active: dict[int, tuple[int, int, list[int]]] = {}  # sequence -> (prompt number, next position, tokens)
        while waiting or active:
            for sequence in set(range(self.sequences)) - set(active) if waiting else ():
                if not waiting:
                    break
                number, prompt = waiting.pop()
                tokens = self.tokenize(prompt)
                llama_cpp.llama_memory_seq_rm(self.memory, sequence, -1, -1)
                last = len(tokens) - 1
                logits = self.decode([(token, place, sequence, place == last) for place, token in enumerate(tokens)])
                active[sequence] = (number, len(tokens), [int(logits[0].argmax())])
            for sequence, (number, position, tokens) in list(active.items()):
                stopped = llama_cpp.llama_vocab_is_eog(self.vocabulary, tokens[-1])
                if stopped or len(tokens) >= max_tokens or position + 1 >= self.context:
                    kept = tokens[:-1] if stopped else tokens
                    found[number] = Generation(kept, self.text(kept), stopped)
                    del active[sequence]
            if active:
                logits = self.decode(
                    [(tokens[-1], position, sequence, True) for sequence, (_, position, tokens) in active.items()]
                )
                for (sequence, (number, position, tokens)), row in zip(list(active.items()), logits, strict=True):
                    active[sequence] = (number, position + 1, [*tokens, int(row.argmax())])
        return [found[number] for number in range(len(prompts))]


@contextmanager
def open_model(path: Path, context: int, sequences: int = 1) -> Iterator[Runner]:
    runner = Runner(path, context, sequences)
    try:
        yield runner
    finally:
        runner.close()
