"""The number that an answer settles on."""

import time
from fractions import Fraction

import pytest

from evaluators.prompts.number_check import NumberCheck
from evaluators.prompts.numbers import final_number, parse_number
from tests.evaluators.prompts.sandboxes import Recorded


def number(text: str, **settings: object) -> Fraction | None:
    found = final_number(text)
    return None if found is None else found.value


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("36", 36),
        ("You have **36 apples**.", 36),
        ("Apples: 24 + 12 = 36", 36),
        ("The answer is 36.", 36),
        ("The answer is 24 + 12 = 36 apples.", 36),
        ("The answer is about 36.5, since 3 of 4 are gone.", "36.5"),
        ("Answer: $1,234.50", "1234.5"),
        ("It is 1,234,567.", 1234567),
        ("-3", -3),
        ("minus: −3 °C", -3),
        ("It costs -$12.", -12),
        ("That makes 50%.", 50),
        ("1/3 of it", "1/3"),
        ("2 1/2 cups", "5/2"),
        ("about 1.5e3 grams", 1500),
        ("$3 \\times 10^{4}$", 30000),
        (r"\[ \boxed{36} \]", 36),
        (r"\boxed{x = 36 \text{ apples}}", 36),
        (r"So $\boxed{\frac{5}{8}}$ and not 7", "5/8"),
        (r"\boxed{-\dfrac{1}{2}}", "-1/2"),
        (r"\boxed{1{,}234}", 1234),
        (r"\boxed{12\,345}", 12345),
        ("First 1 \\boxed{7}, corrected \\boxed{9}.", 9),
        ("1. Add: 3\n2. Multiply: 12\n\nDone, that is all.", 12),
        ("They need **7 days**, after 3 days of rest and 2 of work.", 7),
        ("**Step 2:** the sum is 19", 19),
        ("On the 3rd of May, 8 came.", 8),
        ("At 12:30 there were 5.", 5),
        ("Use Q4_K and H2O: 6", 6),
        ("7^50 leaves 10 (mod 13)", 10),
        ("They are left with (36) only", 36),
        ("It is 24 + 12 (= 36)", 36),
        ("so \\(36\\) apples", 36),
        (r"It is \frac58.", "5/8"),
        ("about 5⁄8 of it", "5/8"),
    ],
)
def test_numbers_as_models_write_them(answer: str, wanted: int | str) -> None:
    assert number(answer) == Fraction(wanted)


@pytest.mark.parametrize("answer", ["", "none at all", "at 12:30", "1.000,5", "1,2,3", "3/4/2024", "5/0"])
def test_what_is_no_number_of_english_is_no_answer(answer: str) -> None:
    assert number(answer) is None


def check(answer: str, **settings: object) -> bool | None:
    return NumberCheck.model_validate(settings).judge(answer, Recorded(None)).passed


def test_units_tolerance_and_what_is_passed_over() -> None:
    units = {"m": 1, "km": 1000}
    assert check("It is 2.5 km.", value=2500, units=units)
    assert check("It is 2500 m.", value=2500, units=units)
    assert check("It is 2500.", value=2500, units=units)
    assert not check("It is 2.5 m.", value=2500, units=units)
    assert check("3.1416", value=3.14159, tolerance=0.0001)
    assert not check("3.15", value=3.14159, tolerance=0.0001)
    assert check("36 apples and 0 coins", value=36, ignore=["coins"])
    assert not check("36 apples and 0 coins", value=36)
    assert check("The answer is 0 Coins.\n\n36 apples", value=36, ignore=["coins"])


def test_values_are_decimals_as_written() -> None:
    assert NumberCheck.model_validate(0.1).value == Fraction(1, 10)
    assert NumberCheck.model_validate("1/3").value == Fraction(1, 3)
    assert check("0.30", value=0.3)
    with pytest.raises(ValueError, match="is no number"):
        parse_number("thirty")
    with pytest.raises(ValueError, match="is no number"):
        NumberCheck.model_validate(True)


@pytest.mark.parametrize("noise", ["1,", "9", "1/", "(1 ", "**1", "answer is ", "\\boxed{", "- 1.", "1 + 1 = "])
def test_long_noise_is_read_in_time(noise: str) -> None:
    begin = time.process_time()
    final_number(noise * 20_000)
    assert time.process_time() - begin < 2
