"""The llama-quantize flags that stand beside a LAYER_TYPES string: FLAGS="--token-embedding-type Q4_K ..."."""

import shlex
from dataclasses import dataclass

from optimizer.errors import RecipeError
from optimizer.gguf import parse_tensor_type

_TOKEN_EMBEDDING = "--token-embedding-type"
_OUTPUT = "--output-tensor-type"
_PRUNE = "--prune-layers"
_HIGH = "--layer-types-high"

LAYER_TYPES_HIGH_NOTE = (
    f"{_HIGH} changes nothing: file sizes on published cards show that llama.cpp's own, layer-dependent types "
    "are used with it and without it."
)


@dataclass(frozen=True, slots=True)
class Flags:
    token_embedding_type: str | None = None
    """Canonical tensor type of the token embeddings; None where the flag is missing."""
    output_tensor_type: str | None = None
    """Of output.weight, or of the token embeddings where these are tied and have no flag of their own."""
    layer_types_high: bool = False
    """Kept and written back; it changes nothing."""
    prune_layers: tuple[int, ...] = ()
    """Layers that the file leaves out, in ascending order, numbered as in the source; they need no row."""

    def merged(self, other: "Flags") -> "Flags":
        """These flags, with what `other` sets taking precedence."""
        return Flags(
            other.token_embedding_type or self.token_embedding_type,
            other.output_tensor_type or self.output_tensor_type,
            other.layer_types_high or self.layer_types_high,
            other.prune_layers or self.prune_layers,
        )

    def __str__(self) -> str:
        words = []
        if self.token_embedding_type:
            words += [_TOKEN_EMBEDDING, self.token_embedding_type]
        if self.output_tensor_type:
            words += [_OUTPUT, self.output_tensor_type]
        if self.prune_layers:
            words += [_PRUNE, ",".join(map(str, self.prune_layers))]
        if self.layer_types_high:
            words.append(_HIGH)
        return " ".join(words)


def parse_flags(text: str) -> Flags:
    """Reads the flags' words, `--flag value` or `--flag=value`.

    Raises RecipeError for a flag without its value, an unknown flag, or a name that is no tensor type.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RecipeError(f"FLAGS {text!r} cannot be read: {error}.") from error
    values: dict[str, str] = {}
    pruned: tuple[int, ...] = ()
    high = False
    position = 0
    while position < len(words):
        name, equals, value = words[position].partition("=")
        position += 1
        if name == _HIGH and not equals:
            high = True
            continue
        if name not in (_TOKEN_EMBEDDING, _OUTPUT, _PRUNE):
            raise RecipeError(
                f"{words[position - 1]!r} in FLAGS is not understood. Known: {_TOKEN_EMBEDDING} TYPE, "
                f"{_OUTPUT} TYPE, {_PRUNE} LAYER,LAYER and {_HIGH}."
            )
        if not equals:
            if position == len(words):
                wanted = "layers, such as 3,5" if name == _PRUNE else "tensor type, such as Q6_K"
                raise RecipeError(f"{name} in FLAGS lacks its {wanted}.")
            value = words[position]
            position += 1
        if name == _PRUNE:
            pruned = parse_layers(value)
        else:
            values[name] = parse_tensor_type(value)
    return Flags(values.get(_TOKEN_EMBEDDING), values.get(_OUTPUT), high, pruned)


def parse_layers(text: str) -> tuple[int, ...]:
    """`3,5` as layers in ascending order, as llama-quantize reads it. RecipeError for what is no list of numbers."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise RecipeError(f"{_PRUNE} {text!r} is no list of layers; write their numbers, as in {_PRUNE} 3,5.")
    return tuple(sorted({int(word) for word in words}))
