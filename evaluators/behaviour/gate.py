"""Who may become the incumbent of a search: nobody that solves fewer prompts, or loops where the source does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluators.behaviour.outcome import PromptOutcome

_NAMED = 5  # prompts that a reason names; the rest are counted


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """`reasons` say why it stays shut, in words; empty where it opens."""

    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons


def ask_gate(
    candidate: Sequence[PromptOutcome],
    incumbent: Sequence[PromptOutcome] | None,
    source: Sequence[PromptOutcome],
) -> GateVerdict:
    """Open to a candidate that solves no fewer prompts than the incumbent and has no endless generation of its own.

    Prompts are paired by id. One that could not be judged for either counts for neither; a loop or near loop counts
    only where the source, on the same prompt, has none. Without an incumbent only loops are looked at.
    """
    reasons = []
    if incumbent is not None:
        reasons += _fewer_solved(candidate, incumbent)
    ends_well = {prompt.prompt_id for prompt in source if not prompt.is_endless}
    endless = [prompt.prompt_id for prompt in candidate if prompt.is_endless and prompt.prompt_id in ends_well]
    if endless:
        reasons.append(f"never ends on {_names(endless)}, where the source does")
    return GateVerdict(tuple(reasons))


def _fewer_solved(candidate: Sequence[PromptOutcome], incumbent: Sequence[PromptOutcome]) -> list[str]:
    theirs = {prompt.prompt_id: prompt.solved for prompt in incumbent}
    pairs = [(prompt.prompt_id, prompt.solved, theirs.get(prompt.prompt_id)) for prompt in candidate]
    judged = [(name, ours, other) for name, ours, other in pairs if ours is not None and other is not None]
    solved, rivals = sum(ours for _, ours, _ in judged), sum(other for _, _, other in judged)
    if solved >= rivals:
        return []
    lost = [name for name, ours, other in judged if other and not ours]
    return [f"solves {solved} of {len(judged)} prompts, the incumbent {rivals}; lost: {_names(lost)}"]


def _names(prompt_ids: Sequence[str]) -> str:
    more = len(prompt_ids) - _NAMED
    return ", ".join(prompt_ids[:_NAMED]) + (f" and {more} more" if more > 0 else "")
