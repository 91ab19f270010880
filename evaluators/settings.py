"""How llama.cpp is run: the settings that logits depend on, pinned and written beside every result.

Names and defaults are those of llama-perplexity, so that the same flags give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import psutil

from evaluators.errors import SettingsError

FLASH_ATTENTION = ("auto", "on", "off")
ROPE_SCALING = ("none", "linear", "yarn", "longrope")
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

# A reference and a candidate must agree on these; where a model runs (threads, GPU layers, buffer types, KV type) may
# differ, since an F16 reference often does not fit where its candidates do.
PROTOCOL_KEYS = (
    "ctx_size",
    "batch_size",
    "ubatch_size",
    "rope_scaling",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_slow",
    "yarn_beta_fast",
)


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """llama.cpp's flags `-c -b -ub -t -ngl -fa -ctk -ctv --no-repack`, RoPE and YaRN.

    `ctx_size` is the length of one chunk in tokens. A batch larger than that holds several chunks as parallel
    sequences; a smaller one decodes a chunk in several calls. `threads=None` means one per physical core.
    None of a RoPE or YaRN setting means the model's own. Raises SettingsError when the values cannot work together.
    """

    ctx_size: int = 512
    batch_size: int = 2048
    ubatch_size: int = 512
    threads: int | None = None
    n_gpu_layers: int = 0
    flash_attn: str = "auto"
    cache_type_k: str = "f16"
    cache_type_v: str = "f16"
    use_extra_bufts: bool = True
    rope_scaling: str | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_slow: float | None = None
    yarn_beta_fast: float | None = None

    def __post_init__(self) -> None:
        # Odd chunk lengths work, but below 4 tokens nothing would be scored in any useful sense.
        for name, least in (("ctx_size", 4), ("batch_size", 1), ("ubatch_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise SettingsError(f"{name} is {value}; it must be at least {least}")
        if self.threads is not None and self.threads < 1:
            raise SettingsError(f"threads is {self.threads}; give at least 1, or leave it out for one per core")
        for name, allowed in (("flash_attn", FLASH_ATTENTION), ("cache_type_k", CACHE_TYPES)):
            _require_one_of(name, getattr(self, name), allowed)
        _require_one_of("cache_type_v", self.cache_type_v, CACHE_TYPES)
        if self.rope_scaling is not None:
            _require_one_of("rope_scaling", self.rope_scaling, ROPE_SCALING)
        if self.cache_type_v not in ("f32", "f16", "bf16") and self.flash_attn == "off":
            raise SettingsError(
                f"cache_type_v {self.cache_type_v} needs flash attention, which is off; use -fa on, or -ctv f16"
            )

    @property
    def n_sequences(self) -> int:
        """Chunks decoded together, as llama-perplexity's n_parallel."""
        return max(1, self.batch_size // self.ctx_size)

    @property
    def effective_batch_size(self) -> int:
        """Tokens of one decode call: a batch is never larger than the chunks that fit it whole."""
        return min(self.batch_size, self.n_sequences * self.ctx_size)

    @property
    def first_scored(self) -> int:
        """Position whose logits are the first to be scored; the half before it is context only."""
        return self.ctx_size // 2

    @property
    def scored_per_chunk(self) -> int:
        """Tokens scored in one chunk: 255 for 512."""
        return self.ctx_size - 1 - self.first_scored

    def resolved_threads(self) -> int:
        if self.threads is not None:
            return self.threads
        return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1

    def as_dict(self) -> dict[str, Any]:
        """JSON-able, for the identity of a result; `threads` is the number that is used."""
        return {**asdict(self), "threads": self.resolved_threads()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RuntimeSettings:
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise SettingsError(f"unknown runtime settings {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        return cls(**dict(values))


def _require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name} is {value!r}; llama.cpp knows {', '.join(allowed)}")
