"""The check on an answer's number. Where the number is looked for: `evaluators/prompts/numbers.py`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator

from evaluators.prompts.numbers import final_number, in_units, parse_number
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import CheckSettings, Judgement


def _exact(given: Any) -> Any:
    """36, 0.1 (the decimal as written), "1/3", "1,234.5"."""
    if isinstance(given, bool) or not isinstance(given, int | float | str | Fraction):
        raise ValueError(f"{given!r} is no number; write as 36, -3, 0.5, 1,234.5 or 1/3")
    return given if isinstance(given, Fraction) else parse_number(str(given))


Exactly = Annotated[Fraction, BeforeValidator(_exact)]


class NumberCheck(CheckSettings):
    """The answer settles on `value`, to within `tolerance`.

    `units`: factors to the unit of `value`, as {m: 1, km: 1000}; with another word behind it a number counts as it is.
    `ignore`: words; a number with one of them behind it is passed over ("36 apples and 0 coins").
    """

    value: Exactly
    tolerance: Exactly = Fraction(0)
    units: Mapping[str, Exactly] = {}
    ignore: tuple[str, ...] = ()

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        found = final_number(answer, ignored=frozenset(word.lower() for word in self.ignore))
        if found is None:
            return Judgement(False, (f"gives no number, not {_shown(self.value)}",))
        said = in_units(found, self.units)
        if said is None:
            return Judgement(False, (f"gives a number that is not written as English does, not {_shown(self.value)}",))
        return Judgement.of(
            abs(said - self.value) <= self.tolerance, f"arrives at {_shown(said)}, not {_shown(self.value)}"
        )


def _shown(value: Fraction) -> str:
    if value.denominator == 1:
        text = str(value)
        return text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
    return f"{float(value):.10g}" if abs(value.numerator) < 10**300 else "a very long number"
