"""The questions of one generation: which still wait, which are answered. Shared by all contexts that answer them."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from evaluators.evaluator import Progress
from evaluators.generation.draft import Draft
from evaluators.generation.shape import Request
from evaluators.generation.transcript import Generation, Transcript


class Board:
    """Hands out questions in the order given, from any thread. progress is called by one thread at a time."""

    def __init__(
        self, requests: Sequence[Request], drafts: Mapping[str, Sequence[int]], progress: Progress | None
    ) -> None:
        self._requests, self._drafts, self._progress = requests, drafts, progress
        self._lock = threading.Lock()
        self._next = 0
        self._closed = False
        self._found: dict[int, Transcript] = {}
        self._accepted = 0

    def take(self, cells: int) -> tuple[int, Request] | None:
        """The next question if its prompt and answer fit into so many cells of a KV cache."""
        with self._lock:
            if self._closed or self._next == len(self._requests) or self._requests[self._next].cells > cells:
                return None
            number = self._next
            self._next += 1
            return number, self._requests[number]

    def next_prompt(self) -> Sequence[int]:
        """Tokens of the question that would be taken next; none where there is none."""
        with self._lock:
            return () if self._next == len(self._requests) else self._requests[self._next].tokens

    def draft(self, request: Request) -> Draft | None:
        foretold = self._drafts.get(request.question_id)
        return Draft(foretold) if foretold else None

    def keep(self, number: int, transcript: Transcript, accepted: int) -> None:
        with self._lock:
            self._found[number] = transcript
            self._accepted += accepted
        self.tell()

    def tell(self) -> None:
        if self._progress is not None:
            with self._lock:
                self._progress(len(self._found), len(self._requests))

    @property
    def closed(self) -> bool:
        """Whether all answers are unwanted, since one of them failed."""
        return self._closed

    def close(self) -> None:
        self._closed = True

    def generation(self, seconds: float, identity: str) -> Generation:
        transcripts = tuple(self._found[number] for number in range(len(self._requests)))
        generated = sum(len(transcript.tokens) for transcript in transcripts)
        return Generation(transcripts, seconds, generated / seconds, self._accepted, identity)
