"""Where the answer is in a transcript: behind the reasoning, and the option that it chooses."""

import time

import pytest

from evaluators.prompts.answers import fenced_blocks, final_answer, final_letter, last_boxed


@pytest.mark.parametrize(
    ("transcript", "answer"),
    [
        ("It is 36.", "It is 36."),
        ("<think>24?</think>\n\n36", "36"),
        ("24? no\n</think>\n\n36", "36"),
        ("<think>\n</think>\n36<|im_end|>", "36"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("[THINK]24[/THINK]36</s>", "36"),
        ("<|channel|>analysis<|message|>24<|end|><|start|>assistant<|channel|>final<|message|>36<|return|>", "36"),
        ("The tag `<think>` opens a block: 36", "The tag `<think>` opens a block: 36"),
        ("<think>24", None),
        ("<think>24</think>", None),
        ("<think>a</think>wait\n<think>b", None),
        ("<|channel|>analysis<|message|>The answer is 36", None),
        ("", None),
    ],
)
def test_reasoning_is_not_the_answer(transcript: str, answer: str | None) -> None:
    assert final_answer(transcript) == answer


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b is wrong. The answer is C.", "C"),
        ("The answer is **B) red**.", "B"),
        ("Answer: (D)", "D"),
        (r"\boxed{A}", "A"),
        (r"$\boxed{\text{C}}$", "C"),
        (r"\boxed{\textbf{(B)}}", "B"),
        ("I choose option D because A is wrong.", "D"),
        ("Not A.\n\n**C**", "C"),
        ("B) Some painters are no musicians.", "B"),
        ("First the answer is A. No: the answer is B.", "B"),
        ("The answer is Zebra.", None),
        ("The answer is F.", None),
        (r"\boxed{7}", None),
        ("A friend told me so.", None),
        ("", None),
    ],
)
def test_the_letter_that_is_chosen(answer: str, letter: str | None) -> None:
    assert final_letter(answer, "ABCD") == letter


@pytest.mark.parametrize("before", ["", "answer", "1"])
@pytest.mark.parametrize(
    "noise", ["\n", " ", "answer ", "option *", "*", "(", "A)\n", "```\n", "\\boxed{", "<|im_end|>"]
)
def test_noise_without_end_is_read_in_time(before: str, noise: str) -> None:
    begin = time.process_time()
    final_letter(before + noise * 20_000, "ABCD")
    final_answer(before + noise * 20_000)
    assert time.process_time() - begin < 1


def test_boxes_balance_their_braces_and_may_be_unfinished() -> None:
    assert last_boxed(r"\boxed{1} and \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert last_boxed(r"\boxed{1} and \boxed{2") == "1"
    assert last_boxed("none") is None


def test_fences_are_found_only_when_closed() -> None:
    assert fenced_blocks("a\n```Python\nx = 1\n```\nb\n```\ny\n```\n```json\n{") == (("python", "x = 1\n"), ("", "y\n"))
