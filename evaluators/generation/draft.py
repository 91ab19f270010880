"""A draft: what an answer may go on with, taken from another answer to the same question."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

# Tokens that must agree again before a draft is taken up once more after the answer left it.
RESYNC_TOKENS = 4
FIRST_REACH = 64
SHORTEST_REACH = 4


class Draft:
    """Follows an answer token by token and proposes what comes next. A wrong proposal costs time and nothing else.

    Where the answer leaves the draft it is found again by its last `RESYNC_TOKENS` tokens, at the first place after the
    last agreement. The more of its proposals hold, the more are proposed together: twice as many where all did,
    `SHORTEST_REACH` after the answer left.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        self._tokens = list(tokens)
        self._at: int | None = 0  # of the next token, where the answer follows the draft
        self._reach = FIRST_REACH
        self._agreed = 0
        self._recent: list[int] = []
        self._places: dict[tuple[int, ...], list[int]] = {}
        for end in range(RESYNC_TOKENS, len(self._tokens) + 1):
            self._places.setdefault(tuple(self._tokens[end - RESYNC_TOKENS : end]), []).append(end)

    def propose(self, limit: int) -> list[int]:
        return [] if self._at is None else self._tokens[self._at : self._at + min(limit, self._reach)]

    def judge(self, proposed: int, agreed: int) -> None:
        """Of so many tokens proposed together so many were what the answer chose."""
        if agreed < proposed:
            self._reach = SHORTEST_REACH
        elif agreed >= self._reach:
            self._reach *= 2

    def follow(self, token: int) -> None:
        """The answer went on with this token."""
        self._recent = [*self._recent[1 - RESYNC_TOKENS :], token]
        if self._at is not None and self._at < len(self._tokens) and self._tokens[self._at] == token:
            self._at += 1
            self._agreed = self._at
            return
        places = self._places.get(tuple(self._recent), [])
        index = bisect_left(places, self._agreed)
        self._at = places[index] if index < len(places) else None
