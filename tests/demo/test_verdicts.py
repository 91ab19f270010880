"""Loops are exact repetitions at the tail, long enough not to be chance."""

from __future__ import annotations

from demo.verdicts import Verdict, final_number, tail_period, verdict


def test_a_repeated_block_is_a_loop_of_its_smallest_period() -> None:
    assert tail_period([9, 8, 7] + [1, 2, 3] * 20) == 3
    assert verdict([1] * 60, stopped=False) is Verdict.LOOP


def test_few_copies_are_no_loop() -> None:
    assert tail_period(list(range(50)) + [1, 2, 3] * 4) is None
    assert tail_period(list(range(100))) is None
    assert verdict(list(range(100)), stopped=False) is Verdict.OUT_OF_TOKENS


def test_a_generation_that_stops_is_no_loop() -> None:
    assert verdict([1] * 60, stopped=True) is Verdict.STOPPED


def test_the_last_final_number_counts() -> None:
    assert final_number("The answer is 3. Oh. The answer is 47.") == 47
    assert final_number("Count: 1, 2, 3.") is None
