"""Who is let through, and what is said to who is not."""

from hypothesis import given
from hypothesis import strategies as st

from evaluators.behaviour.gate import ask_gate
from tests.evaluators.behaviour.outcomes import LIMIT, LOOP, NEAR, outcome, outcomes

SOURCE = outcomes(a=True, b=True, c=True)


def test_as_many_solved_is_enough_whichever_they_are() -> None:
    assert ask_gate(outcomes(a=True, b=False, c=True), outcomes(a=True, b=True, c=False), SOURCE).passed


def test_one_fewer_is_not() -> None:
    verdict = ask_gate(outcomes(a=True, b=False, c=False), outcomes(a=True, b=True, c=False), SOURCE)
    assert not verdict.passed
    assert verdict.reasons == ("solves 1 of 3 prompts, the incumbent 2; lost: b",)


def test_what_cannot_be_judged_counts_for_neither() -> None:
    incumbent = outcomes(a=True, b=True, c=True)
    assert ask_gate(outcomes(a=True, b=True, c=None), incumbent, SOURCE).passed
    assert ask_gate(outcomes(a=True, b=True, c=False), outcomes(a=True, b=True, c=None), SOURCE).passed
    assert not ask_gate(outcomes(a=True, b=False, c=None), incumbent, SOURCE).passed


def test_a_loop_of_its_own_keeps_it_out() -> None:
    for verdict in (LOOP, NEAR):
        candidate = [outcome("a"), outcome("b", verdict=verdict), outcome("c")]
        asked = ask_gate(candidate, outcomes(a=False, b=False, c=False), SOURCE)
        assert asked.reasons == ("never ends on b, where the source does",)


def test_a_loop_that_the_source_has_does_not() -> None:
    source = [outcome("a", verdict=NEAR), outcome("b"), outcome("c")]
    candidate = [outcome("a", verdict=LOOP), outcome("b"), outcome("c")]
    assert ask_gate(candidate, None, source).passed


def test_running_out_of_tokens_is_no_loop() -> None:
    assert ask_gate([outcome("a", verdict=LIMIT)], None, SOURCE).passed


def test_without_an_incumbent_only_loops_count() -> None:
    assert ask_gate(outcomes(a=False, b=False, c=False), None, SOURCE).passed
    assert not ask_gate([outcome("a", verdict=LOOP)], None, SOURCE).passed


def test_both_faults_are_named_and_long_lists_are_cut() -> None:
    names = [f"p{number}" for number in range(9)]
    candidate = [outcome(name, verdict=LOOP) for name in names]
    source = [outcome(name) for name in names]
    first, second = ask_gate(candidate, source, source).reasons
    assert first == "solves 0 of 9 prompts, the incumbent 9; lost: p0, p1, p2, p3, p4 and 4 more"
    assert second.startswith("never ends on p0, p1, p2, p3, p4 and 4 more")


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([True, False, None])))
def test_nobody_is_kept_out_by_himself(passed: dict[str, bool | None]) -> None:
    same = outcomes(**passed)
    assert ask_gate(same, same, same).passed
