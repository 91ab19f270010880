"""VOD names: `Q5_K_658` is Q5_K but for attn_v (6: Q6_K), attn_output (5: Q5_K) and ffn_down (8: Q8_0).

Two meta rows say what letters and digits mean. `["A","attn","Q","attn_q",...]` gives each letter the part of a
tensor's name it stands for; `["MAP","VOD","0","QN_K","6","Q6_K",...]` gives the order of the letters, then a type for
each digit, QN_K being the name's own base. Published cards disagree about some digits (0 is F32 on one and the base on
another), so the row decides, and an export always writes it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from optimizer.errors import RecipeError
from optimizer.gguf import parse_tensor_type
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.recipes.roles import VALUE_ROLES

OWN_BASE = "QN_K"
DEFAULT_LETTERS: Mapping[str, str] = MappingProxyType(
    {
        "A": "attn",
        "Q": "attn_q",
        "K": "attn_k",
        "V": "attn_v",
        "O": "attn_o",
        "S": "ssm",
        "F": "ffn",
        "G": "ffn_g",
        "U": "ffn_u",
        "D": "ffn_d",
    }
)
DEFAULT_DIGITS: Mapping[str, str] = MappingProxyType(
    {
        "0": OWN_BASE,
        "2": "Q2_K",
        "3": "Q3_K",
        "4": "Q4_K",
        "5": "Q5_K",
        "6": "Q6_K",
        "8": "Q8_0",
        "h": "F16",
        "f": "F32",
    }
)
"""Of the newest card that carries a MAP row (GLM-4.7-Flash)."""

DISPUTED_DIGITS = "0fF"
"""An older card (Qwen3.5-9B) reads 0 as F32, and f and F as F16."""

_NAME = re.compile(r"(?P<base>.+)_(?P<digits>[0-9A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class VodMap:
    order: str = "VOD"
    letters: Mapping[str, str] = field(default_factory=lambda: DEFAULT_LETTERS)
    digits: Mapping[str, str] = field(default_factory=lambda: DEFAULT_DIGITS)

    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The meta rows that say all this."""
        digits = tuple(word for pair in self.digits.items() for word in pair)
        letters = tuple(word for pair in self.letters.items() for word in pair)
        return letters, ("MAP", self.order, *digits)

    def letter_of(self, role: str) -> str | None:
        """The letter whose name part is the longest one in this role, None where no letter of the order means it."""
        text = "attn_v" if role in VALUE_ROLES else role
        fitting = [letter for letter in self.order if self.letters[letter] in text]
        return max(fitting, key=lambda letter: len(self.letters[letter]), default=None)

    def resolve(self, name: str, roles: Sequence[str]) -> dict[str, str] | None:
        """The type of each role under this name; None where it is no VOD name.

        Raises RecipeError for a VOD name with a digit that the map does not have.
        """
        match = _NAME.fullmatch(name.strip())
        if match is None or len(match["digits"]) != len(self.order):
            return None
        base = match["base"].upper()
        if base not in TARGET_TYPES or not any(self._digit(digit) for digit in match["digits"]):
            return None
        types: dict[str, str] = {}
        for letter, digit in zip(self.order, match["digits"], strict=True):
            given = self._digit(digit)
            if given is None:
                raise RecipeError(
                    f"{name}: the digit {digit!r} (for {letter}) stands for nothing. The MAP row knows "
                    f"{', '.join(self.digits)}; add the digit to it."
                )
            types[letter] = base if given == OWN_BASE else given
        return {role: types.get(self.letter_of(role) or "", base) for role in roles}

    def name_of(self, types: Mapping[str, str]) -> str | None:
        """The VOD name under which every role gets exactly these types, None where there is none."""
        free = {types[role] for role in types if self.letter_of(role) is None}
        if len(free) != 1:
            return None
        (base,) = free
        codes = {given: digit for digit, given in reversed(tuple(self.digits.items()))}
        digits = ""
        for letter in self.order:
            wanted = {given for role, given in types.items() if self.letter_of(role) == letter} or {base}
            code = codes.get(next(iter(wanted)))
            if len(wanted) != 1 or code is None:
                return None
            digits += code
        return f"{base}_{digits}" if base in codes else None

    def _digit(self, digit: str) -> str | None:
        return self.digits.get(digit) or self.digits.get(digit.lower()) or self.digits.get(digit.upper())


def read_map(meta_rows: Sequence[tuple[str, ...]]) -> VodMap:
    """The map that the meta rows define, the default where they do not. Raises RecipeError for a row it cannot read."""
    letters, digits, order = DEFAULT_LETTERS, DEFAULT_DIGITS, "VOD"
    for row in meta_rows:
        if row[0].upper() == "MAP":
            order, words = row[1], row[2:]
            if any(len(digit) != 1 for digit in words[::2]):
                raise RecipeError(f"the MAP row {list(row)} must give a type for single letters and digits.")
            digits = {
                digit: given.upper() if given.upper() == OWN_BASE else parse_tensor_type(given)
                for digit, given in _pairs(row, words)
            }
        elif len(row[0]) == 1:
            letters = {letter: part for letter, part in _pairs(row, row) if len(letter) == 1}
    unknown = [letter for letter in order if letter not in letters]
    if unknown or len(set(order)) != len(order):
        raise RecipeError(f"the MAP row orders {order!r}; known letters, each once, are {''.join(letters)}.")
    return VodMap(order, letters, digits)


def _pairs(row: Sequence[str], words: Sequence[str]) -> list[tuple[str, str]]:
    if len(words) % 2:
        raise RecipeError(f"the meta row {list(row)} has a word without its partner. Words come in pairs.")
    return [(words[number], words[number + 1]) for number in range(0, len(words), 2)]
