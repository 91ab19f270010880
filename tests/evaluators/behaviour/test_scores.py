"""What counts as solved, what as a loop, and where two transcripts part."""

import pytest

from evaluators.behaviour.outcome import Answer, PromptOutcome
from evaluators.behaviour.scores import compare, diverge, score
from tests.evaluators.behaviour.outcomes import LIMIT, LOOP, NEAR, outcome, outcomes, transcript


def test_solved_means_that_checks_hold_and_that_it_stopped() -> None:
    prompts = [
        outcome("a"),
        outcome("b", passed=False),
        outcome("c", verdict=LIMIT),
        outcome("d", verdict=LOOP, category="logic"),
        outcome("e", passed=None, category="logic"),
        outcome("f", passed=None, verdict=NEAR, category="logic"),
    ]
    scores = score(prompts)
    assert (scores.count.solved, scores.count.total, scores.count.unavailable) == (1, 6, 1)
    assert {name: (each.solved, each.total, each.unavailable) for name, each in scores.by_category.items()} == {
        "arithmetic": (1, 3, 0),
        "logic": (0, 3, 1),
    }
    assert (scores.loops, scores.near_loops, scores.out_of_tokens) == (2, 1, 1)
    assert (scores.generated_tokens, scores.thinking_tokens) == (18, 12)
    assert scores.agreement is None
    assert scores.as_json()["agreement"] is None


def test_the_interval_leaves_out_what_nobody_could_judge() -> None:
    judged = score(outcomes(a=True, b=False)).count.interval
    assert score(outcomes(a=True, b=False, c=None)).count.interval == judged


@pytest.mark.parametrize(
    ("verdicts", "solved"),
    [
        ((True, True), True),
        ((True, False), False),
        ((True, None), None),
        ((None, False), False),
    ],
)
def test_a_prompt_asked_twice_must_pass_twice(verdicts: tuple[bool | None, ...], solved: bool | None) -> None:
    answers = tuple(Answer(transcript(f"q{n}"), passed) for n, passed in enumerate(verdicts))
    assert PromptOutcome("q", "choice", answers).solved is solved


def test_a_prompt_ends_as_its_worst_answer() -> None:
    answers = (Answer(transcript("q"), True), Answer(transcript("q#rotated", NEAR), True))
    prompt = PromptOutcome("q", "choice", answers)
    assert prompt.verdict is NEAR
    assert prompt.is_endless
    assert not outcome("p", verdict=LIMIT).is_endless


@pytest.mark.parametrize(
    ("ours", "theirs", "agreement", "first"),
    [
        ((1, 2, 3), (1, 2, 3), 3, None),
        ((1, 2, 3), (1, 9, 3), 1, 1),
        ((1, 2), (1, 2, 3), 2, 2),
        ((1, 2, 3), (1, 2), 2, 2),
        ((), (5,), 0, 0),
        ((), (), 0, None),
    ],
)
def test_first_divergence(ours: tuple[int, ...], theirs: tuple[int, ...], agreement: int, first: int | None) -> None:
    found = diverge(transcript(tokens=ours), transcript(tokens=theirs))
    assert (found.agreement, found.first) == (agreement, first)


def test_agreement_is_over_the_generations_that_the_reference_has() -> None:
    reference = {"a": transcript("a"), "b": transcript("b", tokens=(1, 9, 9, 9, 9))}
    agreement = score(outcomes(a=True, b=True, c=True), reference).agreement
    assert agreement is not None
    assert (agreement.identical, agreement.tokens, agreement.reference_tokens) == (1, 4, 8)
    assert agreement.share == 0.5
    assert agreement.median_first_divergence == 1
    assert [each.question_id for each in agreement.divergences] == ["a", "b"]


def test_pairs_without_a_verdict_for_both_say_nothing() -> None:
    ours = outcomes(a=True, b=True, c=False, d=None, e=True, f=True)
    theirs = outcomes(a=True, b=False, c=True, d=True, e=None)
    test = compare(ours, theirs)
    assert (test.gained, test.lost, test.compared) == (1, 1, 3)


def test_the_json_s_keys() -> None:
    found = score([outcome("a")], {"a": transcript("a")}).as_json()
    assert {"solved", "total", "loops", "out_of_tokens"} <= set(found)
    assert found["solved_interval"][0] < 1.0 == found["solved_interval"][1]
    assert found["by_category"] == {"arithmetic": {"solved": 1, "total": 1, "unavailable": 0}}
    assert found["agreement"]["share"] == 1.0
