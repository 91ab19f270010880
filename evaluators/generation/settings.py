"""How answers are generated, besides how llama.cpp is run (evaluators.settings)."""

from __future__ import annotations

from dataclasses import dataclass

from evaluators.errors import SettingsError


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Raises SettingsError when a value is impossible.

    ctx_size: tokens of all sequences together (`-c`); a prompt and its answer must fit it. None: as many as the
    questions that are decoded together need, each prompt and answer within the model's training context unless RoPE
    settings are given.
    max_parallel: sequences decoded together; on a CPU more than 4 are slower, since its attention computes what other
    sequences' masks hide.
    lanes: on a CPU a small model (evaluators.generation.shape.LANE_WEIGHTS) answers in one context a thread, each
    question alone in its own, in max_parallel contexts at most.
    draft_tokens: of a draft at most, verified in one step; fewer where proposals failed (evaluators.generation.draft),
    and all answers' together no more than evaluators.generation.shape.OUTPUT_ROWS.
    stop_loops: a generation ends where an exact loop is proven (evaluators.repetition.PROVEN).
    chat_template: Jinja source instead of the model's own.
    """

    ctx_size: int | None = None
    max_parallel: int = 4
    draft_tokens: int = 128
    speculative: bool = True
    lanes: bool = True
    stop_loops: bool = True
    chat_template: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_parallel", self.max_parallel), ("draft_tokens", self.draft_tokens)):
            if value < 1:
                raise SettingsError(f"{name} is {value}; it must be at least 1")
        if self.ctx_size is not None and self.ctx_size < 2:
            raise SettingsError(f"a context of {self.ctx_size} tokens holds no prompt and answer; use a larger -c")
