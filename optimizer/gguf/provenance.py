"""The block that a file of this program carries in its metadata: its recipe, where it comes from, how it scored.

Its length depends on the number of quantizable tensors only, so that it can be counted before there is anything to
write in it, and the file fits its budget to the byte. It is one JSON object, padded with spaces: whatever has to go for
it to fit goes in the order of `OPTIONAL_FIRST`, the recipe never. The recipe is one letter a tensor, in llama.cpp's
order, with the letters' meaning beside it.
"""

import json
import string
from collections.abc import Mapping, Sequence
from typing import Any

from optimizer.errors import GgufError, RecipeError
from optimizer.gguf.metadata import KeyValue, string_pair

KEY = "layerquant.recipe"
RESERVED_BYTES = 1024
OPTIONAL_FIRST = ("notes", "layer_types", "flags", "metrics", "study", "text", "imatrix", "source_name")
"""What is left out first when the block is too small; other fields follow, longest first."""

_LETTERS = string.ascii_letters + string.digits


def block_length(n_quantizable: int) -> int:
    """Bytes of the block for a model with this many quantizable tensors."""
    return -(-(RESERVED_BYTES + n_quantizable) // 32) * 32


def placeholder_pair(n_quantizable: int) -> KeyValue:
    """A pair as long as the one that will be written."""
    return string_pair(KEY, " " * block_length(n_quantizable))


def build_block(tensor_types: Mapping[str, str], quantizable: Sequence[str], fields: Mapping[str, Any]) -> str:
    """The block's text, exactly `block_length(len(quantizable))` bytes long.

    Args:
        tensor_types: the recipe; it must name all of `quantizable`.
        fields: anything JSON can hold, such as source, fingerprint, layer_types, metrics.
    """
    kinds = sorted({tensor_types[name] for name in quantizable})
    letters = dict(zip(kinds, _LETTERS, strict=False))
    core = {
        "types": {letters[kind]: kind for kind in kinds},
        "tensors": "".join(letters[tensor_types[name]] for name in quantizable),
    }
    length = block_length(len(quantizable))
    kept = dict(fields)
    text = _dump(kept | core)
    while len(text) > length and kept:
        by_length = sorted(kept, key=lambda name: -len(_dump(kept[name])))
        gone = next((name for name in OPTIONAL_FIRST if name in kept), by_length[0])
        del kept[gone]
        text = _dump(kept | core)
    if len(text) > length:
        raise RecipeError(f"a recipe of {len(kinds)} tensor types does not fit its block of {length} bytes.")
    return text.ljust(length)


def provenance_pair(tensor_types: Mapping[str, str], quantizable: Sequence[str], fields: Mapping[str, Any]) -> KeyValue:
    return string_pair(KEY, build_block(tensor_types, quantizable, fields))


def read_block(text: str, quantizable: Sequence[str] | None = None) -> tuple[dict[str, str] | None, dict[str, Any]]:
    """The recipe and the other fields of a block; the recipe is None where the tensors' names are not given.

    Raises GgufError where the text is no such block, or names another number of tensors.
    """
    try:
        block = json.loads(text)
        kinds, tensors = dict(block.pop("types")), str(block.pop("tensors"))
        types = [str(kinds[letter]) for letter in tensors]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GgufError(f"the file's {KEY} cannot be read ({error}). It was changed by another program.") from error
    if quantizable is None:
        return None, block
    if len(types) != len(quantizable):
        raise GgufError(
            f"the file's {KEY} names {len(types)} tensors, the model has {len(quantizable)} quantizable ones. "
            "It was made from another model."
        )
    return dict(zip(quantizable, types, strict=True)), block


def _dump(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=True)
