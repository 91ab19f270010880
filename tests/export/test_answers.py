"""Answers side by side: the lost come first, divergence and loop are found in the text, nothing is markup."""

from html.parser import HTMLParser

import pytest

from evaluators.behaviour.outcome import Answer, PromptOutcome
from evaluators.generation.transcript import Transcript
from evaluators.prompts.prompt import Prompt
from evaluators.prompts.suite import Suite
from evaluators.repetition import Ending, Repetition, Verdict
from optimizer.export.answer_text import divergence_in_text, ending_text, pieces, repeated_in_text
from optimizer.export.answers import Answers, Group, show_answers
from optimizer.export.answers_page import answers_page
from optimizer.export.report_prompts import PromptReport
from tests.export.answered import SOURCE, WINNER, named, outcome, said

LOOP = said("Well", *[" a", " b", " c"] * 60, verdict=Verdict.LOOP)
SUITE = Suite(
    "sums", tuple(Prompt(name, "sums", None, f"What is <{name}>?", "on", 9, ()) for name in ("same", "lost")), "sha"
)


def test_what_is_lost_comes_first_and_identical_answers_are_names() -> None:
    shown = show_answers(WINNER, SOURCE, [named("IQ3_M", *SOURCE.result.prompts)])
    assert [(each.prompt_id, each.group) for each in shown.prompts] == [
        ("lost", Group.LOST), ("won", Group.GAINED), ("words", Group.DIVERGING), ("unknown", Group.DIVERGING),
    ]  # fmt: skip
    assert shown.identical == ("same",)
    assert shown.counts == "1 lost, 1 gained, 2 in other words, 1 identical"
    lost = shown.prompts[0]
    assert lost.verdicts == "F16 solved, trial <b>7</b> not solved, IQ3_M solved"
    assert lost.reason == "arrives at 31, not <3>"
    source, winner, preset = lost.questions[0].answers
    assert "the first 3 tokens as F16" in winner.notes
    assert "all tokens as F16" in preset.notes
    assert (source.fork, winner.fork, preset.fork) == (True, True, False)


def test_the_divergence_is_where_its_token_begins_though_the_texts_agree_further() -> None:
    source, winner = show_answers(WINNER, SOURCE).prompts[0].questions[0].answers
    assert [(piece.text, piece.equal) for piece in source.pieces] == [("2 + 1 = ", True), ("3.", False)]
    assert [(piece.text, piece.equal) for piece in winner.pieces] == [("2 + 1 = ", True), ("31.", False)]


def test_without_lengths_it_is_the_word_in_which_the_texts_part() -> None:
    ours, theirs = said("It is ", "315 coins", known=False), said("It is ", "317 coins", known=False)
    assert divergence_in_text(ours, theirs) == len("It is ")
    assert divergence_in_text(ours, ours) is None


def test_an_answer_that_ends_early_leaves_the_other_at_its_end() -> None:
    short, long = said("It", " is"), said("It", " is", " 3")
    assert divergence_in_text(short, long) == len(short.text)
    shown = pieces(short.text, len(short.text), None, compared=True)
    assert [(piece.text, piece.equal) for piece in shown] == [("It is", True)]


@pytest.mark.parametrize("known", [True, False])
def test_a_loop_is_shown_copy_by_copy_and_then_counted(known: bool) -> None:
    loop = LOOP if known else Transcript(
        "p", 5, LOOP.tokens, LOOP.text, LOOP.ending, 0, 0.1
    )  # fmt: skip
    repeated = repeated_in_text(loop)
    assert repeated is not None
    assert (repeated.onset, repeated.period) == (4, 6)
    first, *copies, note = pieces(loop.text, None, repeated, compared=False)
    assert (first.text, first.repeats) == ("Well", False)
    assert [(copy.text, copy.copy) for copy in copies] == [(" a b c", 0), (" a b c", 1), (" a b c", 2)]
    assert (note.cut, note.repeats) == (57 * 6, True)
    assert ending_text(loop.ending, 181) == "never ends: from token 1 on the same 3 tokens 60 times"


def test_a_loop_that_the_other_has_too_is_equal_until_they_part() -> None:
    text = "Well" + "ab" * 200
    shown = pieces(text, 7, repeated_in_text(said("Well", *["ab"] * 200, verdict=Verdict.LOOP)), compared=True)
    assert [(piece.text, piece.equal, piece.repeats) for piece in shown[:3]] == [
        ("Well", True, False), ("ab", True, True), ("a", True, True),
    ]  # fmt: skip
    assert not any(piece.equal for piece in shown[3:])
    assert sum(len(piece.text) + piece.cut for piece in shown) == len(text)


@pytest.mark.parametrize("divergence", [None, 0, 100, 9_000, 20_000])
def test_of_long_texts_it_is_said_how_much_is_left_out(divergence: int | None) -> None:
    text = "".join(f"{number} and " for number in range(2_500))[:20_000]
    shown = pieces(text, divergence, None, compared=True)
    assert sum(len(piece.text) + piece.cut for piece in shown) == len(text)
    assert any(piece.cut for piece in shown)
    assert sum(len(piece.text) for piece in shown) < 5_500
    assert text.startswith(shown[0].text)
    assert text.endswith(shown[-1].text)
    if divergence == 9_000:
        (before,) = [index for index, piece in enumerate(shown) if piece.first]
        assert text[:9_000].endswith(shown[before - 1].text)
        assert shown[before - 1].equal


def test_how_answers_end_in_words() -> None:
    assert ending_text(Ending(Verdict.STOPPED), 1_234) == "stopped by itself after 1,234 tokens"
    assert ending_text(Ending(Verdict.OUT_OF_TOKENS), 320) == "ran out of tokens after 320"
    counter = Ending(Verdict.NEAR_LOOP, Repetition(40, 20, 400))
    assert ending_text(counter, 9).endswith("from character 40 on the same 20 characters 20 times, but for numbers")
    assert ending_text(Ending(Verdict.NEAR_LOOP, Repetition(40, None, 400)), 9).endswith("it says nothing new")


class Seen(HTMLParser):
    """Elements, and the texts of those that hold answers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.open = 0
        self.text = ""
        self._style = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._style = tag == "style"
        self.outside += [str(value) for name, value in attributes if name in ("src", "href", "action")]
        self.open += tag == "details" and any(name == "open" for name, _ in attributes)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data


def page(answers: Answers) -> Seen:
    row = {
        "kind": "candidate", "name": "c.gguf", "solved": 1, "total": 2, "unavailable": 0, "solved_interval": [0.1, 0.9],
        "loops": 0, "out_of_tokens": 0, "generated_tokens": 9, "agreement": None, "paired": None,
    }  # fmt: skip
    prompts = PromptReport.from_json({"suite": "sums <i>", "rows": [row]})
    assert prompts is not None
    return Seen(answers_page("c.gguf <x>", prompts, answers))


def test_a_page_is_closed_whole_and_takes_no_text_for_markup() -> None:
    seen = page(show_answers(WINNER, SOURCE, suite=SUITE))
    assert seen.outside == []
    assert "script" not in seen.tags
    assert (seen.tags.count("details"), seen.open) == (4, 0)
    assert not {"i", "x"} & set(seen.tags)
    text = " ".join(seen.text.split())
    for words in ("trial <b>7</b>: not solved", "arrives at 31, not <3>", "What is <lost>?", "sums <i>", "c.gguf <x>"):
        assert words in text
    assert "2 + 1 = ▶differs from here: 31." in text
    assert "def▶differs from here: ends here" in text
    assert "Identical to the last token: same." in text
    assert "What is <same>?" not in text
    assert "repeats itself" not in text


def test_a_model_alone_has_one_column_and_nothing_to_compare_with() -> None:
    looping = PromptOutcome("loops", "sums", (Answer(LOOP, False),))
    shown = show_answers(named("only", outcome("good", True, "3"), looping))
    assert [(each.prompt_id, each.group) for each in shown.prompts] == [
        ("loops", Group.NOT_SOLVED), ("good", Group.SOLVED),
    ]  # fmt: skip
    assert shown.counts == "1 not solved, 1 solved"
    seen = page(shown)
    text = " ".join(seen.text.split())
    assert "342 characters of repetition left out" in text
    assert "never ends: from token 1 on the same 3 tokens 60 times" in text
    assert "repeats itself" in text
    assert "▶" not in text
    assert "Grey" not in text
