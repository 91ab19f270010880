"""Where each token of an answer stands in its text."""

import pytest

from evaluators.generation.transcript import token_lengths
from tests.evaluators.behaviour.outcomes import transcript


@pytest.mark.parametrize(
    "pieces",
    [
        [b"The", b" answer", b"", b" is 3."],
        [b"\xe2", b"\x82", b"\xac 5", b" \xf0\x9f\x98", b"\x80"],
        [b"bad \xff\xfe", b"\xe2\x82"],
        [b"\xe2\x82", b"x"],
        [],
    ],
)
def test_lengths_are_those_of_the_text(pieces: list[bytes]) -> None:
    lengths = token_lengths(pieces)
    assert len(lengths) == len(pieces)
    assert sum(lengths) == len(b"".join(pieces).decode("utf-8", "replace"))


def test_a_character_of_several_tokens_belongs_to_its_last() -> None:
    assert token_lengths([b"\xe2", b"\x82", b"\xac 5"]) == (0, 0, 3)


def test_a_transcript_of_older_times_does_not_know() -> None:
    old = transcript(tokens=(1, 2, 3), text="47")
    assert old.characters(2) is None
    assert old.characters(0) == 0
