"""Pins and bounds: regular expressions over tensor names that fix a tensor's type, or the range it may come from.

Patterns are searched anywhere in the name, as llama-quantize does: `output` finds `attn_output` too, `^output` not.
Whatever cannot hold is refused here, before anything is built or evaluated.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optimizer.errors import ConfigError, RecipeError
from optimizer.gguf.tensor_types import TARGET_TYPES, parse_tensor_type
from optimizer.gguf.tensor_types import tensor_type as type_of

_PIN = re.compile(r"^(?P<pattern>.+)=(?P<value>[^=]+)$")
_BOUND = re.compile(r"^(?P<pattern>.+?)=(?P<value>[<>]=[^=]+|[^=<>]+\.\.[^=<>]+)$")


@dataclass(frozen=True)
class Bound:
    """A range of tensor types by bits per weight, both ends included; None is an open end."""

    pattern: str
    text: str
    lowest: str | None
    highest: str | None

    def admits(self, tensor_type: str) -> bool:
        bits = type_of(tensor_type).bits_per_weight
        above = self.lowest is None or bits >= type_of(self.lowest).bits_per_weight
        return above and (self.highest is None or bits <= type_of(self.highest).bits_per_weight)

    def __str__(self) -> str:
        return f"bound {self.pattern!r}: {self.text}"


def parse_bound(pattern: str, text: str) -> Bound:
    """`>=Q5_K`, `<=Q6_K` or `Q4_K..Q8_0`."""
    wanted = text.strip()
    if wanted.startswith((">=", "<=")):
        end = _type(f"bound {pattern!r}", wanted[2:])
        return Bound(pattern, wanted, end, None) if wanted.startswith(">=") else Bound(pattern, wanted, None, end)
    low, separator, high = wanted.partition("..")
    if not separator:
        raise ConfigError(f"bound {pattern!r}: {text!r} is no range; write >=Q5_K, <=Q6_K or Q4_K..Q8_0")
    bound = Bound(pattern, wanted, _type(f"bound {pattern!r}", low), _type(f"bound {pattern!r}", high))
    if bound.highest is not None and not bound.admits(bound.highest):
        raise ConfigError(f"{bound}: its first end has more bits per weight than its second; write the smaller first")
    return bound


def pinned_tensors(pins: Mapping[str, str], tensors: Sequence[str]) -> dict[str, str]:
    """Tensor -> type. Refuses a pattern that finds nothing, and two patterns that want two types of one tensor."""
    pinned: dict[str, tuple[str, str]] = {}
    for pattern, type_name in pins.items():
        tensor_type = _type(f"pin {pattern!r}", type_name)
        if tensor_type not in TARGET_TYPES:
            raise ConfigError(f"pin {pattern!r}: ggml does not quantize weights to {tensor_type}; name another type")
        for tensor in _matching(f"pin {pattern!r}", pattern, tensors):
            other, other_type = pinned.setdefault(tensor, (pattern, tensor_type))
            if other_type != tensor_type:
                raise ConfigError(
                    f"{tensor} is pinned twice: to {other_type} by {other!r} and to {tensor_type} by {pattern!r}; "
                    "narrow one of the patterns"
                )
    return {tensor: tensor_type for tensor, (_, tensor_type) in pinned.items()}


def bounded_tensors(bounds: Mapping[str, str], tensors: Sequence[str]) -> dict[str, tuple[Bound, ...]]:
    """Tensor -> every bound that holds for it. Refuses a pattern that finds nothing."""
    bounded: dict[str, tuple[Bound, ...]] = {}
    for pattern, text in bounds.items():
        bound = parse_bound(pattern, text)
        for tensor in _matching(f"bound {pattern!r}", pattern, tensors):
            bounded[tensor] = (*bounded.get(tensor, ()), bound)
    return bounded


def broken_bound(mix: Mapping[str, str], bounded: Mapping[str, Sequence[Bound]]) -> tuple[str, Bound] | None:
    """The first tensor of a mix (tensor -> type) that lies outside a bound, and that bound."""
    for tensor, tensor_type in mix.items():
        for bound in bounded.get(tensor, ()):
            if not bound.admits(tensor_type):
                return tensor, bound
    return None


def constraints_from_flags(pins: Sequence[str], bounds: Sequence[str]) -> dict[str, dict[str, str]]:
    """The values of --pin REGEX=TYPE and --bound REGEX=RANGE as settings `pins` and `bounds`, where any were given."""
    settings = {
        "pins": _read_flags("--pin", _PIN, pins, "REGEX=TYPE, for example --pin '^token_embd=Q6_K'"),
        "bounds": _read_flags("--bound", _BOUND, bounds, "REGEX=RANGE, for example --bound 'attn_v=>=Q5_K'"),
    }
    return {key: value for key, value in settings.items() if value}


def _read_flags(flag: str, form: re.Pattern[str], texts: Sequence[str], example: str) -> dict[str, str]:
    read: dict[str, str] = {}
    for text in texts:
        match = form.match(text)
        if match is None:
            raise ConfigError(f"{flag} {text!r} must have the form {example}")
        pattern, value = match["pattern"], match["value"]
        if read.setdefault(pattern, value) != value:
            raise ConfigError(f"{flag}: {pattern!r} is given twice, as {read[pattern]} and {value}; leave one out")
    return read


def _matching(what: str, pattern: str, tensors: Sequence[str]) -> list[str]:
    try:
        matching = [tensor for tensor in tensors if re.search(pattern, tensor)]
    except re.error as error:
        raise ConfigError(f"{what} is no regular expression: {error}") from None
    if not matching:
        raise ConfigError(f"{what} matches no quantizable tensor of this model, for example {tensors[0]}")
    return matching


def _type(what: str, name: str) -> str:
    try:
        return parse_tensor_type(name)
    except RecipeError as error:
        raise ConfigError(f"{what}: {error}") from None
