"""Answers written by hand: one prompt lost, one gained, one in other words, one identical, one that nobody judged."""

from zlib import crc32

from evaluators.behaviour.outcome import Answer, BehaviourResult, PromptOutcome
from evaluators.generation.transcript import Transcript
from evaluators.repetition import Verdict, judge_ending
from optimizer.export.answers import Named


def said(*words: str, verdict: Verdict | None = None, known: bool = True, name: str = "p") -> Transcript:
    """One token a word. known: whether the transcript has the lengths of its tokens."""
    text = "".join(words)
    tokens = tuple(crc32(word.encode()) % 100_000 for word in words)
    ending = judge_ending(tokens, text, stopped=verdict is None)
    return Transcript(name, 5, tokens, text, ending, 0, 0.1, tuple(map(len, words)) if known else ())


def outcome(name: str, solved: bool | None, *words: str, reasons: tuple[str, ...] = ()) -> PromptOutcome:
    return PromptOutcome(name, "sums", (Answer(said(*words, name=name), solved, reasons),))


def named(name: str, *outcomes: PromptOutcome) -> Named:
    return Named(name, BehaviourResult("sha", outcomes, {}))


SOURCE = named(
    "F16",
    outcome("same", True, "The answer is 3."),
    outcome("words", True, "It", " is", " 3."),
    outcome("won", False, "4"),
    outcome("lost", True, "2", " + 1", " = ", "3", "."),
    outcome("unknown", None, "def", " f(): pass"),
)
WINNER = named(
    "trial <b>7</b>",
    outcome("same", True, "The answer is 3."),
    outcome("words", True, "It", " must", " be", " 3."),
    outcome("won", True, "3"),
    outcome("lost", False, "2", " + 1", " = ", "31", ".", reasons=("arrives at 31, not <3>",)),
    outcome("unknown", False, "def"),
)
