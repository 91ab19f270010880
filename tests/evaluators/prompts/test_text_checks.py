"""Exact answers, strings that occur or do not, and regular expressions."""

import pytest

from evaluators.prompts import regex_check
from evaluators.prompts.regex_check import Regex
from evaluators.prompts.text_checks import AllOf, AnyOf, Exact, NoneOf
from evaluators.prompts.verdict import CheckSettings, Judgement
from tests.evaluators.prompts.sandboxes import Recorded


def judge(check: CheckSettings, answer: str) -> Judgement:
    result = check.judge(answer, Recorded(None))  # type: ignore[attr-defined]
    assert isinstance(result, Judgement)
    return result


@pytest.mark.parametrize("answer", ["Paris", "paris.", " **Paris** \n", '"Paris"', "“Paris.”", "`Paris`"])
def test_exact_looks_past_decoration(answer: str) -> None:
    assert judge(Exact.model_validate("Paris"), answer).passed


@pytest.mark.parametrize("answer", ["Paris, France", "It is Paris", "Pariss", "Paris..."])
def test_exact_is_exact(answer: str) -> None:
    assert judge(Exact.model_validate("Paris"), answer).passed is False


def test_exact_takes_several_values_and_case() -> None:
    assert judge(Exact.model_validate(["no", "none"]), "None").passed
    assert not judge(Exact.model_validate({"value": "HARBOR", "case_sensitive": True}), "Harbor").passed
    assert judge(Exact.model_validate("a b"), "a\n  b").passed


def test_strings_are_whole_words_in_any_case() -> None:
    york = AnyOf.model_validate(["New York", "Hudson"])
    assert judge(york, "It is near new\nyork.").passed
    assert judge(york, "The **Hudson's** banks").passed
    assert not judge(york, "In Newyorkshire").passed
    assert judge(york, "Boston").reasons == ("says none of 'New York', 'Hudson'",)
    assert judge(AnyOf.model_validate("don't"), "I don’t").passed
    assert judge(AnyOf.model_validate("C++"), "in C++, say").passed


def test_all_names_what_is_missing_and_none_what_is_there() -> None:
    assert judge(AllOf.model_validate(["a", "b", "c"]), "a c").reasons == ("does not say 'b'",)
    assert judge(AllOf.model_validate(["a", "b"]), "b a").passed
    assert judge(NoneOf.model_validate(["wave"]), "waves").passed
    assert judge(NoneOf.model_validate(["wave"]), "a Wave").reasons == ("says 'wave', which it must not",)


def test_regex_and_its_flags() -> None:
    assert judge(Regex.model_validate("^a+$"), "aaa").passed
    assert not judge(Regex.model_validate("^a+$"), "b\naaa").passed
    assert judge(Regex.model_validate({"value": "^A+$", "multiline": True, "ignore_case": True}), "b\naaa").passed
    assert not judge(Regex.model_validate("a.b"), "a\nb").passed
    assert judge(Regex.model_validate({"value": "a.b", "dot_all": True}), "a\nb").passed
    assert judge(Regex.model_validate("ü–"), "ü–\ud800").passed


def test_regex_without_end_is_ended_and_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regex_check, "SECONDS", 0.5)
    judged = judge(Regex.model_validate("^(a+)+$"), "a" * 60 + "b")
    assert judged.passed is None
    assert "takes longer than 0.5 s" in judged.reasons[0]


def test_regex_sees_the_end_of_a_long_answer() -> None:
    assert judge(Regex.model_validate("end$"), "x" * regex_check.LONGEST_ANSWER + "end").passed
    assert not judge(Regex.model_validate("start"), "start" + "x" * regex_check.LONGEST_ANSWER).passed


def test_judgements_join() -> None:
    yes, no, unknown = Judgement(True), Judgement(False, ("wrong",)), Judgement(None, ("no sandbox",))
    assert Judgement.all_of([yes, yes]) == Judgement(True)
    assert Judgement.all_of([yes, unknown]) == Judgement(None, ("no sandbox",))
    assert Judgement.all_of([unknown, no]) == Judgement(False, ("no sandbox", "wrong"))
