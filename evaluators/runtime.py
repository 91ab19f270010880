"""Chunks of tokens through llama.cpp, their logits as arrays.

It decodes exactly as llama-perplexity does
(tools/perplexity/perplexity.cpp): batch_size // ctx_size chunks at once as parallel sequences, the first token of a
chunk replaced by BOS where the vocabulary wants one, memory cleared before each batch, logits asked for from the
middle of the chunk on, and a chunk longer than a batch decoded in several calls. So the figures are equal to its own.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as low
import numpy as np
from llama_cpp import __version__ as binding_version
from numpy.typing import NDArray

from evaluators.errors import ModelLoadError, SettingsError, TextError
from evaluators.evaluator import EngineInfo, TokenizedText
from evaluators.llama import context_params, decode, load_model, log, logits, named, pointer, start_backend, vocabulary
from evaluators.settings import RuntimeSettings

__all__ = ["Runtime", "ScoredLogits", "engine_info", "log", "start_backend", "tokenize"]


class ScoredLogits(NamedTuple):
    """Logits of consecutive scored positions of one chunk, in llama.cpp's own memory: use the array, never keep it."""

    chunk: int
    first_row: int  # of the chunk's scored rows; 0 unless a chunk takes several batches
    logits: NDArray[np.float32]  # [rows, n_vocab]


@lru_cache(maxsize=1)
def engine_info() -> EngineInfo:
    start_backend()
    library = low._lib
    version = f"{_text(library, 'ggml_version')} ({_text(library, 'ggml_commit')}), llama-cpp-python {binding_version}"
    return EngineInfo(
        name="llama.cpp",
        version=version,
        system_info=low.llama_print_system_info().decode().strip(),
        devices=tuple(_devices(library)),
        library_sha256=_library_sha256(Path(library._name).resolve().parent),
    )


class Runtime:
    """A loaded model with a context of pinned batch shape; close it, or use it in a `with`.

    `paths`: one GGUF, the first file of a split by its usual name, or every shard of a candidate in order.
    `on_node`: a ggml_backend_sched_eval_callback that sees the graph's nodes while they are computed.
    Raises ModelLoadError or TokenizerError.
    """

    def __init__(self, paths: Sequence[Path], settings: RuntimeSettings, *, on_node: Any = None) -> None:
        start_backend()
        self.settings = settings
        self._context: Any = None
        self._model = load_model(paths, settings, vocab_only=False)
        try:
            vocab = vocabulary(self._model, paths)
            self.n_vocab = int(low.llama_vocab_n_tokens(vocab))
            self._bos = int(low.llama_vocab_bos(vocab)) if low.llama_vocab_get_add_bos(vocab) else None
            params = _context_params(settings)
            self._on_node = on_node  # llama.cpp calls it as long as the context lives
            if on_node is not None:
                params.cb_eval = on_node
            self._context = low.llama_init_from_model(self._model, params)
            if not self._context:
                raise ModelLoadError(
                    f"llama.cpp cannot make a context of {settings.n_sequences} x {settings.ctx_size} tokens for "
                    f"{named(paths)}; try a smaller -b or -c. Its log ends:\n{log.tail()}"
                )
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._context:
            low.llama_free(self._context)
            self._context = None
        if self._model:
            low.llama_model_free(self._model)
            self._model = None

    def decode(self, tokens: NDArray[np.int32], chunks: Sequence[int]) -> Iterator[ScoredLogits]:
        """Logits of the scored positions of these chunks, in the order given. tokens: [n_chunks * ctx_size].

        Each step's array is overwritten by the next. Raises DecodeError.
        """
        group = self.settings.n_sequences
        for start in range(0, len(chunks), group):
            yield from self._decode_group(tokens, chunks[start : start + group])

    def pass_over(self, tokens: NDArray[np.int32], chunks: Sequence[int]) -> Iterator[None]:
        """Decode at most `n_sequences` chunks with outputs everywhere and fetch none, for `on_node`, as llama-imatrix.

        Yields before each call of llama_decode. Raises DecodeError.
        """
        rows = self._begin_group(tokens, chunks)
        step = self.settings.effective_batch_size
        for begin in range(0, rows.shape[1], step):
            positions = np.arange(begin, min(begin + step, rows.shape[1]), dtype=np.int32)
            yield
            self._decode_batch(rows[:, begin : begin + step], positions, np.ones(positions.size, dtype=np.bool_))

    def _begin_group(self, tokens: NDArray[np.int32], chunks: Sequence[int]) -> NDArray[np.int32]:
        """The chunks' tokens [chunks, ctx_size] with BOS where the vocabulary wants it, and an empty memory."""
        ctx_size = self.settings.ctx_size
        rows = np.stack([tokens[chunk * ctx_size : (chunk + 1) * ctx_size] for chunk in chunks]).astype(np.int32)
        if self._bos is not None:
            rows[:, 0] = self._bos
        low.llama_memory_clear(low.llama_get_memory(self._context), True)
        return rows

    def _decode_group(self, tokens: NDArray[np.int32], chunks: Sequence[int]) -> Iterator[ScoredLogits]:
        settings = self.settings
        ctx_size, step, first = settings.ctx_size, settings.effective_batch_size, settings.first_scored
        rows = self._begin_group(tokens, chunks)
        for begin in range(0, ctx_size, step):
            end = min(begin + step, ctx_size)
            positions = np.arange(begin, end, dtype=np.int32)
            self._decode_batch(rows[:, begin:end], positions, positions >= first)
            asked = end - max(begin, first)
            # The last position of a chunk predicts a token of the next one; llama-perplexity asks for it and drops it.
            scored = min(end, ctx_size - 1) - max(begin, first)
            if scored < 1:
                continue
            logits = self._logits(len(chunks) * asked)
            for index, chunk in enumerate(chunks):
                yield ScoredLogits(chunk, max(begin, first) - first, logits[index * asked : index * asked + scored])

    def _decode_batch(self, rows: NDArray[np.int32], positions: NDArray[np.int32], asked: NDArray[np.bool_]) -> None:
        sequences, length = rows.shape
        decode(
            self._context,
            np.ascontiguousarray(rows).reshape(-1),
            np.tile(positions, sequences),
            np.repeat(np.arange(sequences, dtype=np.int32), length),
            np.tile(asked.astype(np.int8), sequences),
        )

    def _logits(self, rows: int) -> NDArray[np.float32]:
        return logits(self._context, rows, self.n_vocab)


def tokenize(paths: Sequence[Path], text: Path) -> TokenizedText:
    """The whole text's tokens, with the model's BOS rule applied once; special tokens in the text stay text.

    One newline at the end is left out, as llama-perplexity's `-f` does. Raises TextError, TokenizerError.
    """
    try:
        content = text.read_bytes()
    except OSError as error:
        raise TextError(f"the text {text} cannot be read: {error.strerror}") from error
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(f"the text {text} is not UTF-8 (byte {error.start}); convert it first") from error
    stripped = content.removesuffix(b"\n")
    if not stripped:
        raise TextError(f"the text {text} is empty")
    start_backend()
    model = load_model(paths, RuntimeSettings(), vocab_only=True)
    try:
        vocab = vocabulary(model, paths)
        # Never more tokens than bytes, but for the special ones added around the text.
        tokens = np.empty(len(stripped) + 8, dtype=np.int32)
        count = low.llama_tokenize(
            vocab, stripped, len(stripped), pointer(tokens, ctypes.c_int32), tokens.size, True, False
        )
        if count < 0:
            raise TextError(f"the text {text} of {len(stripped)} bytes cannot be split into tokens; use a shorter one")
        n_vocab = int(low.llama_vocab_n_tokens(vocab))
        return TokenizedText(tokens[:count].copy(), hashlib.sha256(content).hexdigest(), n_vocab)
    finally:
        low.llama_model_free(model)


def _context_params(settings: RuntimeSettings) -> Any:
    limit = int(low.llama_max_parallel_sequences())
    if settings.n_sequences > limit:
        raise SettingsError(
            f"a batch of {settings.batch_size} tokens holds {settings.n_sequences} chunks of {settings.ctx_size}, "
            f"llama.cpp decodes {limit} at once; use -b {limit * settings.ctx_size} or less"
        )
    params = context_params(settings)
    params.n_ctx = settings.n_sequences * settings.ctx_size
    params.n_batch = settings.effective_batch_size
    params.n_ubatch = min(settings.ubatch_size, settings.effective_batch_size)
    params.n_seq_max = settings.n_sequences
    return params


def _text(library: Any, function: str) -> str:
    try:
        call = getattr(library, function)
    except AttributeError:
        return "unknown"
    call.restype = ctypes.c_char_p
    return (call() or b"unknown").decode()


def _devices(library: Any) -> Iterator[str]:
    try:
        count, get = library.ggml_backend_dev_count, library.ggml_backend_dev_get
        name, description = library.ggml_backend_dev_name, library.ggml_backend_dev_description
    except AttributeError:
        return
    count.restype, get.restype, get.argtypes = ctypes.c_size_t, ctypes.c_void_p, [ctypes.c_size_t]
    for call in (name, description):
        call.restype, call.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    for index in range(count()):
        device = get(index)
        yield f"{name(device).decode()}: {description(device).decode()}"


def _library_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    files = {
        path.resolve()
        for path in folder.iterdir()
        if path.name.startswith(("libllama", "libggml", "llama.dll", "ggml"))
    }
    for path in sorted(files):
        if path.is_file() and "common" not in path.name:
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
