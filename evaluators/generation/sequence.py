"""One answer while it is generated: what is decoded, what comes next, when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluators.generation.draft import Draft
from evaluators.repetition import PROVEN, find_loop

# Every so many tokens of an answer the loop test is made, whatever the batches were: so drafts change no answer.
LOOP_INTERVAL = 64


class AnswerSequence:
    """A prompt and its answer in one sequence of the KV cache; at most `allowed` tokens are generated.

    Of `ids[:length]` the first `decoded` are in the cache.
    """

    def __init__(
        self, number: int, slot: int, prompt: Sequence[int], allowed: int, draft: Draft | None, *, stop_loops: bool
    ) -> None:
        self.number, self.slot, self.draft = number, slot, draft
        self.prompt_length = len(prompt)
        self.ids: NDArray[np.int32] = np.empty(len(prompt) + allowed, dtype=np.int32)
        self.ids[: len(prompt)] = prompt
        self.length = len(prompt)
        self.decoded = 0
        self.stopped = False
        self.finished = False
        self.accepted = 0
        self._stop_loops = stop_loops

    @property
    def answer(self) -> NDArray[np.int32]:
        return self.ids[self.prompt_length : self.length]

    @property
    def pending(self) -> int:
        """Tokens not decoded yet: several of a prompt, one of an answer."""
        return self.length - self.decoded

    def propose(self, limit: int) -> list[int]:
        """Draft tokens worth decoding now. The last token allowed is never decoded, so none is proposed for it."""
        limit = min(limit, self.ids.size - self.length - 1)
        return self.draft.propose(limit) if self.draft is not None and limit > 0 else []

    def accept(self, proposed: Sequence[int], choices: Sequence[int], ends: Callable[[int], bool]) -> None:
        """Go on with the model's own choices after the pending token and after each proposed one, now all decoded.

        A choice counts as long as all before it are what was proposed. choices: one more than proposed.
        """
        self.decoded = self.length
        before = self.accepted
        self._follow(proposed, choices, ends)
        if self.draft is not None and proposed:
            self.draft.judge(len(proposed), self.accepted - before)

    def _follow(self, proposed: Sequence[int], choices: Sequence[int], ends: Callable[[int], bool]) -> None:
        for index, choice in enumerate(choices):
            if ends(choice):
                self.stopped = self.finished = True
                return
            self.ids[self.length] = choice
            self.length += 1
            if self.draft is not None:
                self.draft.follow(choice)
            foretold = index < len(proposed) and proposed[index] == choice
            self.decoded += foretold
            self.accepted += foretold
            self.finished = self.length == self.ids.size or self._loops()
            if self.finished or not foretold:
                return

    def _loops(self) -> bool:
        answer = self.answer
        return self._stop_loops and answer.size % LOOP_INTERVAL == 0 and find_loop(answer, PROVEN) is not None
