"""Verdicts on how a generation ended: loops and near loops are found, legitimate repetition is not."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.repetition import (
    AT_LIMIT,
    LONGEST_PERIOD,
    PROVEN,
    Ending,
    LoopRule,
    Repetition,
    Verdict,
    damage,
    find_loop,
    find_near_loop,
    judge_ending,
)

WORDS = [
    "the",
    "and",
    "of",
    "river",
    "tree",
    "stone",
    "coin",
    "purse",
    "gold",
    "silver",
    "bear",
    "wolf",
    "moon",
    "sun",
    "house",
    "bridge",
    "road",
]
REFRAIN = "Row, row, row your boat, gently down the stream.\nMerrily, merrily, merrily, merrily, life is but a dream.\n"
VERSES = (
    "The moon is over the old stone bridge, the water black below,\n"
    "and someone calls across the reeds a name I used to know.\n",
    "The miller sleeps, the wheel is still, the lantern burns alone,\n"
    "and every path that leads from here is made of dust and bone.\n",
    "At dawn the herons lift and turn, the fog goes out to sea,\n"
    "and all the bells of all the towns are ringing, but not for me.\n",
    "So take the oar and find the tide and never mind the rain,\n"
    "the river that has borne us off will bear us home again.\n",
)


def as_tokens(text: str) -> list[int]:
    """The hardest case for short periods: a token for each byte."""
    return list(text.encode())


def oracle(tokens: Sequence[int], rule: LoopRule) -> Repetition | None:
    """The definition itself, period by period and position by position."""
    runs = {}
    for period in range(1, min(LONGEST_PERIOD, len(tokens) // rule.copies) + 1):
        covered = period
        while covered < len(tokens) and tokens[-1 - covered] == tokens[-1 - covered + period]:
            covered += 1
        explained = any(period % other == 0 and runs[other] >= max(covered, period) for other in runs)
        runs[period] = covered
        if not explained and rule.fulfilled(period, covered):
            return Repetition(len(tokens) - covered, period, covered)
    return None


@given(st.data())
@settings(deadline=None)
def test_copies_of_any_block_are_found_with_period_and_onset(data: st.DataObject) -> None:
    period = data.draw(st.integers(1, 1024))
    least = 128 if period < 8 else 64
    copies = data.draw(st.integers(max(4, -(-least // period)), max(4, -(-least // period)) + 6))
    source = random.Random(data.draw(st.integers(0, 2**32)))
    block = source.sample(range(5000), period)
    prefix = [source.randrange(5000) for _ in range(data.draw(st.integers(0, 300)))]
    if prefix:
        prefix[-1] = 5000  # not the block's last token, or the onset would be earlier
    part = block[: data.draw(st.integers(0, period - 1))]
    tokens = prefix + block * copies + part
    assert find_loop(tokens) == Repetition(len(prefix), period, len(tokens) - len(prefix))


@given(
    st.lists(st.integers(0, 2), max_size=80),
    st.lists(st.integers(0, 2), min_size=1, max_size=30),
    st.integers(0, 80),
    st.lists(st.integers(0, 2), max_size=3),
)
@settings(deadline=None, max_examples=200)
def test_the_fast_search_agrees_with_the_definition(
    prefix: list[int], block: list[int], copies: int, suffix: list[int]
) -> None:
    rule = LoopRule(copies=3, length=32, short_period=6, short_length=50)
    tokens = prefix + block * copies + suffix
    assert find_loop(tokens, rule) == oracle(tokens, rule)


def test_a_short_period_needs_more_and_no_multiple_of_it_passes_instead() -> None:
    assert find_loop([7] * 127) is None
    assert find_loop([1, 2, 3] * 42) is None  # 126 tokens, as period 9 it would be enough
    assert find_loop([1, 2, 3] * 43) == Repetition(0, 3, 129)


def test_longer_periods_than_the_longest_are_no_loop() -> None:
    assert find_loop(list(range(LONGEST_PERIOD)) * 5) is not None
    assert find_loop(list(range(LONGEST_PERIOD + 1)) * 5) is None


def test_a_loop_that_was_left_is_none() -> None:
    assert find_loop([*([1, 2, 3, 4, 5, 6, 7, 8, 9] * 100), 4711]) is None


def test_a_rule_that_is_too_weak_is_refused() -> None:
    with pytest.raises(ValueError, match="2 copies"):
        LoopRule(copies=1, length=64, short_period=8, short_length=64)
    with pytest.raises(ValueError, match="short periods"):
        LoopRule(copies=4, length=64, short_period=8, short_length=32)


def paragraphs(count: int) -> str:
    return "".join(
        f"Wait, let me check the {WORDS[index * index % 17]} again. The total that the hero has in the end is not yet "
        "clear to me, so I go through all of it once more from the beginning.\n\n"
        for index in range(count)
    )


LOOPS = {
    "one sentence": "The answer is near. " + "He breaks 22 roses: 90 - 22 = 68 roses. " * 12,
    "thinking again": "So 3 coins.\n" + "Wait, no. Let me recount the coins. He has 3 coins.\n" * 9,
    "one word": "It is" + " very" * 200,
    "empty lines": "Done." + "\n" * 300,
    "two paragraphs": (VERSES[0] + "\n" + VERSES[1] + "\n") * 5,
}
NEAR_LOOPS = {
    "steps": "".join(f"Step {n}: We add one coin to the bag. " for n in range(1, 60)),
    "counting lines": "".join(f"After {n} days the bear has eaten {3 * n} berries.\n" for n in range(7, 50)),
    "numbered paragraphs": "".join(f"Attempt {n}.\n{VERSES[2]}\n" for n in range(1, 14)),
    "one other word in each paragraph": paragraphs(80),
}
LEGITIMATE = {
    "poem": "\n".join(verse + REFRAIN for verse in VERSES),
    "poem sung three times": "\n".join(verse + REFRAIN for verse in VERSES) * 3,
    "one seventh": "1/7 = 0." + "142857" * 20,
    "table of squares": "".join(f"| {n} | {n * n} | {n**3} |\n" for n in range(1, 400)),
    "multiplication": "".join(f"{a} x {b} = {a * b}\n" for a in range(1, 21) for b in range(1, 21)),
    "table of words": "".join(f"| row {n} | yes | no | n/a |\n" for n in range(1, 400)),
    "list of 200 items": "".join(f"{n}. Item {n}\n" for n in range(1, 201)),
    "list of 200 things": "".join(f"{n}. {WORDS[n % 17]} {WORDS[n // 17 % 17]}\n" for n in range(200)),
    "code": "".join(f"    self.{a}_{b} = {a}_{b}\n" for a in WORDS for b in WORDS),
    "matrix": "A = [\n" + "".join(f"  [{n}, 0, 0, {n % 3}],\n" for n in range(200)) + "]",
    "rule of a table": "| a | b |\n|---|---|\n" + "| 1 | 2 |\n",
}  # fmt: skip


@pytest.mark.parametrize("text", LOOPS.values(), ids=LOOPS.keys())
def test_exact_loops(text: str) -> None:
    ending = judge_ending(as_tokens(text), text, stopped=False)
    assert ending.verdict is Verdict.LOOP
    found = ending.repetition
    assert found is not None
    assert found.period is not None
    assert found.onset + found.length == len(text.encode())
    assert (
        text.encode()[found.onset :]
        == text.encode()[found.onset : found.onset + found.period] * (found.length // found.period)
        + text.encode()[found.onset : found.onset + found.length % found.period]
    )


@pytest.mark.parametrize("text", NEAR_LOOPS.values(), ids=NEAR_LOOPS.keys())
def test_near_loops(text: str) -> None:
    assert judge_ending(as_tokens(text), text, stopped=False).verdict is Verdict.NEAR_LOOP


@pytest.mark.parametrize("text", LEGITIMATE.values(), ids=LEGITIMATE.keys())
def test_legitimate_repetition(text: str) -> None:
    tokens = as_tokens(text)
    assert judge_ending(tokens, text, stopped=False).verdict is Verdict.OUT_OF_TOKENS
    assert all(find_loop(tokens[:end], PROVEN) is None for end in range(0, len(tokens), 16))


def test_onset_of_a_counter_is_in_characters_of_the_text() -> None:
    start = "We begin.\n"
    text = start + "".join(f"Step {n}: add one more coin. " for n in range(95, 125))
    found = find_near_loop(text)
    assert found is not None
    assert found.period == len("Step 0: add one more coin. ")
    assert text[found.onset :].startswith("Step 95:")
    assert found.length == len(text) - found.onset


def test_text_of_any_kind_is_judged() -> None:
    assert find_near_loop("") is None
    assert find_near_loop("\ud800 ٣٤ 永" * 3) is None
    assert judge_ending([], "", stopped=False) == Ending(Verdict.OUT_OF_TOKENS)


def test_an_answer_that_ends_is_stopped_whatever_it_repeats() -> None:
    assert judge_ending([1] * 5000, "a" * 5000, stopped=True) == Ending(Verdict.STOPPED)


def test_only_what_the_reference_does_not_do_is_damage() -> None:
    stopped, out = Ending(Verdict.STOPPED), Ending(Verdict.OUT_OF_TOKENS)
    near, loop = Ending(Verdict.NEAR_LOOP), Ending(Verdict.LOOP)
    assert [damage(loop, reference) for reference in (stopped, out, near, loop)] == [
        Verdict.LOOP, Verdict.LOOP, None, None,
    ]  # fmt: skip
    assert damage(near, loop) is None
    assert damage(near, out) is Verdict.NEAR_LOOP
    assert damage(out, stopped) is Verdict.OUT_OF_TOKENS
    assert damage(out, loop) is None
    assert all(damage(stopped, reference) is None for reference in (stopped, out, near, loop))


def test_the_rule_for_cutting_short_is_the_stricter_one() -> None:
    for period in (1, 7, 8, 15, 16, 64, 1024):
        for covered in range(2, 9000, 61):
            assert AT_LIMIT.fulfilled(period, covered) or not PROVEN.fulfilled(period, covered)
