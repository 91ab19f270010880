"""llama.cpp's C API as this package needs it: load a model, describe a context, decode a batch, see its logits.

llama.cpp ends the process on a failed assertion. Whoever cannot afford that uses `evaluators.process`.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as low
import numpy as np
from numpy.typing import NDArray

from evaluators.engine_log import EngineLog
from evaluators.errors import DecodeError, ModelLoadError, TokenizerError
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


def load_model(paths: Sequence[Path], settings: RuntimeSettings, *, vocab_only: bool) -> Any:
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
            f"{named(paths)} has no tokenizer that llama.cpp can use, so no text can be scored with it; "
            f"convert the model again with its tokenizer. llama.cpp's log ends:\n{tail}"
        )
    raise ModelLoadError(f"llama.cpp does not load {named(paths)}; its log ends:\n{tail}")


def vocabulary(model: Any, paths: Sequence[Path]) -> Any:
    vocab = low.llama_model_get_vocab(model)
    if low.llama_vocab_type(vocab) == _NO_VOCABULARY:
        raise TokenizerError(
            f"{named(paths)} has no tokenizer, so no text can be scored with it; convert the model with its tokenizer"
        )
    if low.llama_vocab_get_add_eos(vocab):
        raise TokenizerError(
            f"{named(paths)} ends every text with EOS, which the perplexity protocol does not allow; "
            "set tokenizer.ggml.add_eos_token to false in the source model"
        )
    return vocab


def context_params(settings: RuntimeSettings) -> Any:
    """llama_context_params without a shape: n_ctx, n_batch, n_ubatch and n_seq_max are the caller's to set."""
    params = low.llama_context_default_params()
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


def decode(
    context: Any,
    tokens: NDArray[np.int32],
    positions: NDArray[np.int32],
    sequences: NDArray[np.int32],
    outputs: NDArray[np.int8],
) -> None:
    """One llama_decode. All arrays [tokens]: ids, positions within their sequence, sequence, 1 where logits are wanted.

    Raises DecodeError.
    """
    count = tokens.size
    sequence_pointer = sequences.ctypes.data + 4 * np.arange(count, dtype=np.uintp)
    sequence_count = np.ones(count, dtype=np.int32)
    batch = low.llama_batch(
        n_tokens=count,
        token=pointer(tokens, ctypes.c_int32),
        embd=None,
        pos=pointer(positions, ctypes.c_int32),
        n_seq_id=pointer(sequence_count, ctypes.c_int32),
        seq_id=ctypes.cast(sequence_pointer.ctypes.data, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        logits=pointer(outputs, ctypes.c_int8),
    )
    status = low.llama_decode(context, batch)
    if status != 0:
        raise DecodeError(
            f"llama.cpp refused a batch of {count} tokens (status {status}); "
            f"less memory is needed with a smaller -b, -ub or -c. Its log ends:\n{log.tail()}"
        )


def logits(context: Any, rows: int, n_vocab: int) -> NDArray[np.float32]:
    """[rows, n_vocab] of the last batch's outputs, in llama.cpp's own memory: overwritten by the next decode."""
    found = low.llama_get_logits(context)
    if not found:
        raise DecodeError(f"llama.cpp gave no logits; its log ends:\n{log.tail()}")
    return np.ctypeslib.as_array(found, shape=(rows, n_vocab))


def pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def named(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more shards"
