"""What a model finally answered: the transcript without its reasoning, and the number or the letter that it settled on.

The rules are fixed and documented in docs/prompts.md, so that a verdict can be followed by hand.
"""

from __future__ import annotations

import re

# Opening and closing mark of a reasoning block, as the models write them.
REASONING_MARKS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
)
END_MARKS = (
    "<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|return|>", "<|end|>", "</s>", "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
)  # fmt: skip
CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+#-]*)[^\n`]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
# Marks between the words are few, so that a model that writes blanks without end costs no time.
STATED_LETTER = r"(?i:\s{1,9}is)?[\s:=*_$\\({\[]{0,20}(?i:boxed|text|option)?[\s*_({\[]{0,20}([A-Z])(?![A-Za-z'’])"
LETTER_ANSWERED = re.compile(f"(?i:answer){STATED_LETTER}")
LETTER_CHOSEN = re.compile(f"(?i:choice|option|choose){STATED_LETTER}")
LETTER_ALONE = re.compile(
    r"^[ \t>*_#({\[]{0,20}([A-Z])(?:[ \t*_\]})]{0,20}$|[ \t*_]{0,20}[).:](?=\s|\*|$))", re.MULTILINE
)


def final_answer(transcript: str) -> str | None:
    """The text after the reasoning; None where the reasoning never ended or nothing follows it.

    What counts follows the last closing mark, so an opening mark that stood in the prompt is not needed. A later
    opening mark at the beginning of a line that is not closed means that the model was still reasoning. Of a
    transcript with channels (gpt-oss), only the last `final` channel counts.
    """
    channels = list(CHANNEL.finditer(transcript))
    if channels:
        if channels[-1].group(1) != "final":
            return None
        return _without_end(transcript[channels[-1].end() :])
    start = 0
    for _, closing in REASONING_MARKS:
        at = transcript.rfind(closing)
        if at >= 0:
            start = max(start, at + len(closing))
    answer = transcript[start:]
    for opening, _ in REASONING_MARKS:
        if re.search(rf"^[ \t]*{re.escape(opening)}", answer, re.MULTILINE):
            return None
    return _without_end(answer)


def _without_end(text: str) -> str | None:
    text = text.strip()
    while True:
        shorter = text
        for mark in END_MARKS:
            shorter = shorter.removesuffix(mark).rstrip()
        if shorter == text:
            return text or None
        text = shorter


def final_letter(answer: str, letters: str) -> str | None:
    """The option chosen: boxed, else the last "answer is X", else the last "option X", else the last line of a letter.

    `letters` are those that are there to choose from; another letter is no choice.
    """
    boxed = last_boxed(answer)
    if boxed is not None:
        found = re.search(r"(?<![A-Za-z\\])([A-Z])(?![A-Za-z])", re.sub(r"\\[a-z]+", " ", boxed))
        if found:
            return found.group(1) if found.group(1) in letters else None
    for pattern in (LETTER_ANSWERED, LETTER_CHOSEN, LETTER_ALONE):
        chosen = [match.group(1) for match in pattern.finditer(answer) if match.group(1) in letters]
        if chosen:
            return chosen[-1]
    return None


def last_boxed(answer: str) -> str | None:
    r"""What the last complete `\boxed{…}` holds, braces balanced."""
    end = len(answer)
    while (at := answer.rfind("\\boxed{", 0, end)) >= 0:
        depth = 0
        for index in range(at + len("\\boxed"), end):
            depth += {"{": 1, "}": -1}.get(answer[index], 0)
            if depth == 0:
                return answer[at + len("\\boxed{") : index]
        end = at
    return None


def fenced_blocks(answer: str) -> tuple[tuple[str, str], ...]:
    """(language in small letters, content) of each ``` block that is closed."""
    return tuple((match.group(1).lower(), match.group(2)) for match in FENCE.finditer(answer))
