"""How much of an answer is reasoning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate

from evaluators.prompts.answers import CHANNEL, REASONING_MARKS


def count_thinking_tokens(pieces: Sequence[bytes], prompt: str) -> int:
    """Tokens up to the end of the last reasoning block; all of them where it never ends; 0 without one.

    pieces: the answer's tokens as bytes. prompt: its end tells whether the block was opened there. What counts as
    reasoning is what evaluators.prompts.answers leaves out of the final answer.
    """
    text = b"".join(pieces).decode("latin-1")  # one character a byte
    end = _end_of_thinking(text, prompt)
    return sum(start < end for start in accumulate([0, *map(len, pieces[:-1])])) if pieces else 0


def _end_of_thinking(text: str, prompt: str) -> int:
    if channels := list(CHANNEL.finditer(text)):
        return channels[-1].start() if channels[-1].group(1) == "final" else len(text)
    end = max(text.rfind(closing) + len(closing) if closing in text else 0 for _, closing in REASONING_MARKS)
    for opening, _ in REASONING_MARKS:
        if re.search(rf"^[ \t]*{re.escape(opening)}", text[end:], re.MULTILINE):
            return len(text)
        if end == 0 and prompt.rstrip().endswith(opening):
            return len(text)
    return end
