"""llama.cpp itself: load a model, decode chunks of tokens, expose logits as arrays.

The only module of this package that speaks ctypes. It decodes exactly as llama-perplexity does
(tools/perplexity/perplexity.cpp): batch_size // ctx_size chunks at once as parallel sequences, the first token of a
chunk replaced by BOS where the vocabulary wants one, memory cleared before each batch, logits asked for from the
middle of the chunk on, and a chunk longer than a batch decoded in several calls. So the figures are equal to its own.

llama.cpp ends the process on a failed assertion. Whoever cannot afford that uses `evaluators.process`.
"""

from __future__ import annotations

import ctypes
import hashlib
import resource
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import llama_cpp.llama_cpp as low
import numpy as np
from llama_cpp import __version__ as binding_version
from numpy.typing import NDArray

from evaluators.engine_log import EngineLog
from evaluators.errors import DecodeError, ModelLoadError, SettingsError, TextError, TokenizerError
from evaluators.evaluator import EngineInfo, TokenizedText
from evaluators.settings import RuntimeSettings

_FLASH_ATTENTION = {"auto": -1, "off": 0, "on": 1}
_ROPE_SCALING = {None: -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_CACHE_TYPES = {
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "iq4_nl": 20, "bf16": 30,
}  # fmt: skip
_NO_VOCABULARY = 0

log = EngineLog()


_DEBUG, _CONTINUED = 1, 5  # ggml_log_level
_hidden = False


@low.llama_log_callback  # type: ignore[untyped-decorator]
def _capture(level: int, text: bytes, _user_data: Any) -> None:
    global _hidden
    _hidden = level == _DEBUG or (level == _CONTINUED and _hidden)
    if not _hidden:
        log.add(text.decode("utf-8", "replace"))


class ScoredLogits(NamedTuple):
    """Logits of consecutive scored positions of one chunk, in llama.cpp's own memory: use the array, never keep it."""

    chunk: int
    first_row: int  # of the chunk's scored rows; 0 unless a chunk takes several batches
    logits: NDArray[np.float32]  # [rows, n_vocab]


@lru_cache(maxsize=1)
def start_backend() -> None:
    """Once a process: take over the log, start the backends, allow the open files that many shards need."""
    low.llama_log_set(_capture, ctypes.c_void_p(0))
    low.llama_backend_init()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS answers with an infinite hard limit that it does not accept.
    wanted = min(hard, 1_048_576) if hard != resource.RLIM_INFINITY else 65_536
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            log.add(f"the open-file limit stays at {soft}\n")


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
    Raises ModelLoadError or TokenizerError.
    """

    def __init__(self, paths: Sequence[Path], settings: RuntimeSettings) -> None:
        start_backend()
        self.settings = settings
        self._context: Any = None
        self._model = _load_model(paths, settings, vocab_only=False)
        try:
            vocab = _vocabulary(self._model, paths)
            self.n_vocab = int(low.llama_vocab_n_tokens(vocab))
            self._bos = int(low.llama_vocab_bos(vocab)) if low.llama_vocab_get_add_bos(vocab) else None
            self._context = low.llama_init_from_model(self._model, _context_params(settings))
            if not self._context:
                raise ModelLoadError(
                    f"llama.cpp cannot make a context of {settings.n_sequences} x {settings.ctx_size} tokens for "
                    f"{_named(paths)}; try a smaller -b or -c. Its log ends:\n{log.tail()}"
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

    def _decode_group(self, tokens: NDArray[np.int32], chunks: Sequence[int]) -> Iterator[ScoredLogits]:
        settings = self.settings
        ctx_size, step, first = settings.ctx_size, settings.effective_batch_size, settings.first_scored
        rows = np.stack([tokens[chunk * ctx_size : (chunk + 1) * ctx_size] for chunk in chunks]).astype(np.int32)
        if self._bos is not None:
            rows[:, 0] = self._bos
        low.llama_memory_clear(low.llama_get_memory(self._context), True)
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
        count = sequences * length
        token = np.ascontiguousarray(rows).reshape(-1)
        position = np.tile(positions, sequences)
        sequence = np.repeat(np.arange(sequences, dtype=np.int32), length)
        sequence_pointer = sequence.ctypes.data + 4 * np.arange(count, dtype=np.uintp)
        sequence_count = np.ones(count, dtype=np.int32)
        output = np.tile(asked.astype(np.int8), sequences)
        batch = low.llama_batch(
            n_tokens=count,
            token=_pointer(token, ctypes.c_int32),
            embd=None,
            pos=_pointer(position, ctypes.c_int32),
            n_seq_id=_pointer(sequence_count, ctypes.c_int32),
            seq_id=ctypes.cast(sequence_pointer.ctypes.data, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=_pointer(output, ctypes.c_int8),
        )
        status = low.llama_decode(self._context, batch)
        if status != 0:
            raise DecodeError(
                f"llama.cpp refused a batch of {count} tokens (status {status}); "
                f"less memory is needed with a smaller -b, -ub or -c. Its log ends:\n{log.tail()}"
            )

    def _logits(self, rows: int) -> NDArray[np.float32]:
        pointer = low.llama_get_logits(self._context)
        if not pointer:
            raise DecodeError(f"llama.cpp gave no logits; its log ends:\n{log.tail()}")
        return np.ctypeslib.as_array(pointer, shape=(rows, self.n_vocab))


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
    model = _load_model(paths, RuntimeSettings(), vocab_only=True)
    try:
        vocab = _vocabulary(model, paths)
        # Never more tokens than bytes, but for the special ones added around the text.
        tokens = np.empty(len(stripped) + 8, dtype=np.int32)
        count = low.llama_tokenize(
            vocab, stripped, len(stripped), _pointer(tokens, ctypes.c_int32), tokens.size, True, False
        )
        if count < 0:
            raise TextError(f"the text {text} of {len(stripped)} bytes cannot be split into tokens; use a shorter one")
        n_vocab = int(low.llama_vocab_n_tokens(vocab))
        return TokenizedText(tokens[:count].copy(), hashlib.sha256(content).hexdigest(), n_vocab)
    finally:
        low.llama_model_free(model)


def _load_model(paths: Sequence[Path], settings: RuntimeSettings, *, vocab_only: bool) -> Any:
    if not paths:
        raise ModelLoadError("no model file was given")
    for path in paths:
        if not path.is_file():
            raise ModelLoadError(f"{path} does not exist or is no file")
    params = low.llama_model_default_params()
    params.n_gpu_layers = 0 if vocab_only else settings.n_gpu_layers
    params.use_extra_bufts = settings.use_extra_bufts
    params.vocab_only = vocab_only
    log.clear()
    if len(paths) == 1:
        model = low.llama_model_load_from_file(str(paths[0]).encode(), params)
    else:
        names = (ctypes.c_char_p * len(paths))(*[str(path).encode() for path in paths])
        model = low.llama_model_load_from_splits(names, len(paths), params)
    if model:
        return model
    tail = log.tail(12)
    if "tokenizer" in tail or "vocab" in tail:
        raise TokenizerError(
            f"{_named(paths)} has no tokenizer that llama.cpp can use, so no text can be scored with it; "
            f"convert the model again with its tokenizer. llama.cpp's log ends:\n{tail}"
        )
    raise ModelLoadError(f"llama.cpp does not load {_named(paths)}; its log ends:\n{tail}")


def _vocabulary(model: Any, paths: Sequence[Path]) -> Any:
    vocab = low.llama_model_get_vocab(model)
    if low.llama_vocab_type(vocab) == _NO_VOCABULARY:
        raise TokenizerError(
            f"{_named(paths)} has no tokenizer, so no text can be scored with it; convert the model with its tokenizer"
        )
    if low.llama_vocab_get_add_eos(vocab):
        raise TokenizerError(
            f"{_named(paths)} ends every text with EOS, which the perplexity protocol does not allow; "
            "set tokenizer.ggml.add_eos_token to false in the source model"
        )
    return vocab


def _context_params(settings: RuntimeSettings) -> Any:
    limit = int(low.llama_max_parallel_sequences())
    if settings.n_sequences > limit:
        raise SettingsError(
            f"a batch of {settings.batch_size} tokens holds {settings.n_sequences} chunks of {settings.ctx_size}, "
            f"llama.cpp decodes {limit} at once; use -b {limit * settings.ctx_size} or less"
        )
    params = low.llama_context_default_params()
    params.n_ctx = settings.n_sequences * settings.ctx_size
    params.n_batch = settings.effective_batch_size
    params.n_ubatch = min(settings.ubatch_size, settings.effective_batch_size)
    params.n_seq_max = settings.n_sequences
    params.n_threads = params.n_threads_batch = settings.resolved_threads()
    params.flash_attn_type = _FLASH_ATTENTION[settings.flash_attn]
    params.type_k = _CACHE_TYPES[settings.cache_type_k]
    params.type_v = _CACHE_TYPES[settings.cache_type_v]
    params.swa_full = False  # the tools' default; the library's own is True
    params.rope_scaling_type = _ROPE_SCALING[settings.rope_scaling]
    for name in (
        "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_slow",
        "yarn_beta_fast",
    ):  # fmt: skip
        value = getattr(settings, name)
        if value is not None:
            setattr(params, name, value)
    return params


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _named(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more shards"


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
