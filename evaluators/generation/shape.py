"""The shape in which questions are decoded together: decided before the first token, from settings and prompts only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from evaluators.errors import EvaluationInputError
from evaluators.generation.settings import GenerationSettings
from evaluators.settings import RuntimeSettings

# Of a step with drafts; 256 rows of 152k logits are 156 MB.
OUTPUT_ROWS = 256
# Bytes of weights, few enough for a processor's cache, up to which each thread answers questions of its own.
# Threads that share a small matrix wait for each other; a large one each context would read from memory for itself.
LANE_WEIGHTS = 32 << 20
LANE_OUTPUT_ROWS = 64  # at least, of each lane
_ROPE = ("rope_scaling", "rope_freq_base", "rope_freq_scale", "yarn_orig_ctx")


@dataclass(frozen=True, slots=True)
class Request:
    """A question's prompt text and tokens, and how many tokens its answer may have."""

    question_id: str
    prompt: str
    tokens: tuple[int, ...]
    allowed: int

    @property
    def cells(self) -> int:
        """Of the KV cache that prompt and answer can take."""
        return len(self.tokens) + self.allowed


@dataclass(frozen=True, slots=True)
class BatchShape:
    """What llama.cpp is given; a choice between nearly tied tokens may depend on any of it.

    draft_tokens: of one answer's draft at most, verified in one step; 0 without speculation.
    n_outputs: rows of logits of a step at most.
    lanes: contexts of this shape that answer side by side, the threads divided among them.
    shares_prefixes: whether what prompts have in common is decoded once (evaluators.generation.prefix).
    """

    ctx_size: int
    n_batch: int
    n_ubatch: int
    n_sequences: int
    n_outputs: int
    draft_tokens: int
    lanes: int = 1
    shares_prefixes: bool = False

    def threads(self, settings: RuntimeSettings) -> int:
        """Of each lane."""
        return settings.resolved_threads() // self.lanes

    def identity(self, settings: RuntimeSettings) -> str:
        """All of it as one line that belongs to the result."""
        speculative = f"yes draft_tokens={self.draft_tokens}" if self.draft_tokens else "no"
        return (
            f"n_ctx={self.ctx_size} n_batch={self.n_batch} n_ubatch={self.n_ubatch} n_seq_max={self.n_sequences} "
            f"n_outputs={self.n_outputs} kv_unified=yes shared_prefixes={'yes' if self.shares_prefixes else 'no'} "
            f"lanes={self.lanes} threads={self.threads(settings)} speculative={speculative} "
            f"cache_type_k={settings.cache_type_k} cache_type_v={settings.cache_type_v} "
            f"flash_attn={settings.flash_attn} n_gpu_layers={settings.n_gpu_layers} "
            f"extra_bufts={'yes' if settings.use_extra_bufts else 'no'}"
        )


def longest_sequence(generation: GenerationSettings, runtime: RuntimeSettings, trained: int) -> int:
    """Tokens that one prompt and its answer may have together. trained: the model's training context."""
    if generation.ctx_size is not None:
        return generation.ctx_size
    return sys.maxsize if any(getattr(runtime, name) is not None for name in _ROPE) else trained


def fit_request(question_id: str, prompt: str, tokens: Sequence[int], max_tokens: int, longest: int) -> Request:
    """Raises EvaluationInputError when the prompt leaves no room for an answer."""
    if len(tokens) >= longest:
        raise EvaluationInputError(
            f"prompt {question_id} has {len(tokens)} tokens, which leaves no room for an answer in a context of "
            f"{longest}; use a larger -c (beyond the model's training context with RoPE settings), or a shorter prompt"
        )
    return Request(question_id, prompt, tuple(tokens), min(max_tokens, longest - len(tokens)))


def fit_shape(
    requests: Sequence[Request],
    generation: GenerationSettings,
    runtime: RuntimeSettings,
    *,
    can_take_back: bool,
    speculative: bool,
    weights: int,
) -> BatchShape:
    """can_take_back: what the model's memory can. speculative: whether drafts are given too. weights: bytes."""
    lanes = _lanes(requests, generation, runtime, weights)
    sequences = 1 if lanes > 1 else min(generation.max_parallel, len(requests), runtime.batch_size)
    largest = sorted((request.cells for request in requests), reverse=True)[:sequences]
    rows = max(OUTPUT_ROWS // lanes, LANE_OUTPUT_ROWS)
    outputs = max(sequences, min(rows, runtime.batch_size)) if speculative else sequences
    return BatchShape(
        ctx_size=sum(largest) if lanes > 1 else generation.ctx_size or sum(largest),
        n_batch=runtime.batch_size,
        n_ubatch=min(runtime.ubatch_size, runtime.batch_size),
        n_sequences=sequences,
        n_outputs=outputs,
        draft_tokens=min(generation.draft_tokens, outputs - sequences) if speculative else 0,
        lanes=lanes,
        shares_prefixes=can_take_back and sequences > 1,
    )


def _lanes(requests: Sequence[Request], generation: GenerationSettings, runtime: RuntimeSettings, weights: int) -> int:
    if not generation.lanes or runtime.n_gpu_layers != 0 or weights > LANE_WEIGHTS:
        return 1
    lanes = min(runtime.resolved_threads(), generation.max_parallel, len(requests))
    if generation.ctx_size is not None:
        lanes = min(lanes, generation.ctx_size // max(request.cells for request in requests))
    return max(1, lanes)
