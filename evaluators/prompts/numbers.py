r"""The number that an answer settles on, exact, as English writes it: 1,234.5, -3, $12, 50%, 1/2, \frac{1}{2}, 2e3.

Where it is looked for, in this order:

1. in the last \boxed{…} that holds a number: what follows its last "=", the first number of it;
2. behind the last "answer is", "answer:" or "answer =", where only marks and few words ("about") stand between; of a
   sum ("answer is 24 + 12 = 36") its result;
3. in the last paragraph that has a number, list markers ("2.") and ordinals ("3rd") left out: the last number in
   **bold** (unless the bold text ends in a colon, as headings do), else the last number. Asides in round brackets are
   passed over where they hold no "=" and a number stands outside: "10 (mod 13)" is 10.

What has digits and is no English number, as 1.000,5 or 1,2,3 or 3/4/2024, stands for no number: where it is the one
that the rules arrive at, there is no answer. Times (12:30) are not numbers, nor are digits glued to the end of a word
(H2O, Q4).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from evaluators.prompts.answers import last_boxed

NUMBER = re.compile(
    r"(?<![\w.,/])(?<!\d:)(?P<before>[-–+]?[$€£]?[-+]?)"
    r"(?:(?P<whole>\d+)\s(?=\d+/\d))?+"
    r"(?P<digits>(?>\d[\d.,]*\d|\d|\.\d+))"
    r"(?P<exponent>[eE][-+]?\d{1,2}(?!\d))?+"
    r"(?P<over>(?:/\d+)*+)"
    r"(?!(?:st|nd|rd|th)\b|:\d)"
)
ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
UNIT = re.compile(r"[\s*_$~]*([A-Za-zµ°%][\w°²³/%]*)")
STATED = re.compile(
    r"answer(?:\s+is|\s*[:=])[\s:=*_$(\[{~≈]*"
    r"(?:(?:approximately|approx\.?|about|exactly|therefore|thus|simply|just|now)\b[\s:=*_$(\[{~≈]*)?",
    re.IGNORECASE,
)
SUM_GOES_ON = re.compile(r"[\s*]*[a-z]*\s*(?:[-+*/×÷]|\\times|\\cdot)\s*[^=\n]*=")
LIST_MARKER = re.compile(r"^[\s>*_#-]*\d{1,3}[.)](?=[ \t*]+\S)", re.MULTILINE)
ASIDE = re.compile(r"(?<=\s)\([^()=\n]*\)")
BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
LONGEST = 400  # digits; longer ones are noise and slow to compute with


@dataclass(frozen=True, slots=True)
class FoundNumber:
    """`value` is None where the digits are no English number; `unit` is the word behind it, as written."""

    value: Fraction | None
    unit: str | None


def final_number(answer: str, *, ignored: frozenset[str] = frozenset()) -> FoundNumber | None:
    """The number by the rules above, as if those with a unit among `ignored` (small letters) were not there."""
    boxed = last_boxed(answer)
    if boxed is not None:
        found = _counted(plain(boxed.rsplit("=", 1)[-1]), ignored)
        if found:
            return found[0]
    text = plain(answer)
    for statement in reversed(list(STATED.finditer(text))):
        number = NUMBER.match(text, statement.end())
        if number:
            rest = text[number.end() :].split("\n", 1)[0]
            results = _counted(rest.rsplit("=", 1)[-1], ignored) if SUM_GOES_ON.match(rest) else []
            stated = results[0] if results else _read(number, text)
            if (stated.unit or "").lower() not in ignored:
                return stated
    return _last_of_last_paragraph(text, ignored)


def numbers_in(text: str) -> list[FoundNumber]:
    return [_read(match, text) for match in NUMBER.finditer(text)]


def plain(text: str) -> str:
    """LaTeX's ways of writing a number undone, every kind of minus one kind."""
    text = text.replace("{,}", ",").replace("\\%", "%").replace("\\$", "$").replace("−", "-")
    text = re.sub(r"(-?)\\[dt]?frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}", r" \1\2/\3", text)
    text = re.sub(r"(?<=\d)(?:\\[,!;]|[\u202f\u2009\u00a0])(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d)\s*(?:\\times|×)\s*10\^\{?(-?\d{1,2})\}?", r"e\1", text)
    text = re.sub(r"\\[dt]?frac\s?(\d)\s?(\d)(?!\d)", r" \1/\2", text.replace("⁄", "/"))
    return re.sub(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}", r" \1", text)


def parse_number(text: str) -> Fraction:
    """A number as a suite gives it: "36", "0.5", "1/3"; raises ValueError."""
    found = NUMBER.fullmatch(text.strip())
    value = _read(found, text.strip()).value if found else None
    if value is None:
        raise ValueError(f"{text!r} is no number; write as 36, -3, 0.5, 1,234.5 or 1/3")
    return value


def in_units(found: FoundNumber, units: Mapping[str, Fraction]) -> Fraction | None:
    """The value times its unit's factor; a number with another unit, or none, as it stands."""
    if found.value is None:
        return None
    return found.value * units.get(found.unit or "", Fraction(1))


def _counted(text: str, ignored: frozenset[str]) -> list[FoundNumber]:
    return [number for number in numbers_in(text) if (number.unit or "").lower() not in ignored]


def _last_of_last_paragraph(text: str, ignored: frozenset[str]) -> FoundNumber | None:
    for paragraph in reversed(re.split(r"\n\s*\n", text)):
        kept = LIST_MARKER.sub(" ", paragraph)
        outside = ASIDE.sub(" ", kept)
        if _counted(outside, ignored):
            kept = outside
        numbers = _counted(kept, ignored)
        if not numbers:
            continue
        bold = [
            number
            for span in BOLD.findall(kept)
            if not span.rstrip().endswith(":")
            for number in _counted(span, ignored)
        ]
        return (bold or numbers)[-1]
    return None


def _read(match: re.Match[str], text: str) -> FoundNumber:
    unit = UNIT.match(text, match.end())
    word = unit.group(1) if unit else None
    digits, over = match["digits"], match["over"]
    if not ENGLISH.fullmatch(digits) or over.count("/") > 1 or len(match[0]) > LONGEST:
        return FoundNumber(None, word)
    value = Fraction(digits.replace(",", "") + (match["exponent"] or ""))
    if over:
        denominator = int(over[1:])
        if denominator == 0:
            return FoundNumber(None, word)
        value /= denominator
    if match["whole"]:
        value += int(match["whole"])
    return FoundNumber(-value if match["before"].strip("+$€£") else value, word)
