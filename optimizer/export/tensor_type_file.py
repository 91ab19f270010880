"""A recipe as the text that `llama-quantize --tensor-type-file` reads: one `PATTERN=type` a tensor.

How llama-quantize reads it (tools/quantize/quantize.cpp of the pinned llama.cpp): words separated by white space, each
cut at its first `=`; the pattern is put in lower case, searched in tensor names as an ECMAScript regular expression,
and the first that fits wins. Hence every pattern is anchored, names one tensor only, and needs no class such as `\\D`
that lower case would turn into another. Tensors that no pattern names would get whatever the base preset gives them,
with counters that overridden tensors shift; so all are named.
"""

import re
from collections.abc import Iterable, Mapping

from optimizer.errors import RecipeError
from optimizer.gguf import TENSOR_TYPES, ModelFile
from optimizer.recipes.pruned import PrunedFile
from optimizer.recipes.recipe import Recipe

_PLAIN = re.compile(r"[a-z0-9_-]")
_UNWRITABLE = re.compile(r"[A-Z=\s]")
"""Lost in the file: capitals become lower case, `=` and white space end the pattern. Any one character stands there."""


def name_pattern(name: str) -> str:
    """The anchored expression that finds this tensor, `blk.1.attn_v.weight` -> `^blk\\.1\\.attn_v\\.weight$`."""
    return f"^{''.join(_escape(letter) for letter in name)}$"


def _escape(letter: str) -> str:
    if _PLAIN.fullmatch(letter):
        return letter
    return "." if _UNWRITABLE.fullmatch(letter) else f"\\{letter}"


def explicit_types(recipe: Recipe, model: ModelFile) -> dict[str, str]:
    """What llama-quantize must be told so that it decides nothing: the recipe, and quantized tensors that are kept.

    It takes a natively quantized tensor (MXFP4 as published) for one to quantize again, and refuses. Where layers are
    pruned it searches the patterns in the names that tensors have without them; so these are the names.
    """
    types = {}
    made = PrunedFile.of(model, recipe)
    for tensor in made.model.tensors:
        if tensor.name in made.tensor_types:
            types[tensor.name] = made.tensor_types[tensor.name]
        elif TENSOR_TYPES[tensor.tensor_type].is_quantized:
            types[tensor.name] = tensor.tensor_type
    return types


def tensor_type_file(recipe: Recipe, model: ModelFile) -> str:
    """The file's text, in llama.cpp's tensor order, with a closing newline.

    Raises RecipeError when two names cannot be told apart in this format (they differ in capitals only).
    """
    types = explicit_types(recipe, model)
    _refuse_ambiguous(types)
    return "".join(f"{name_pattern(name)}={TENSOR_TYPES[given].ggml_name}\n" for name, given in types.items())


def _refuse_ambiguous(types: Mapping[str, str]) -> None:
    special = [name for name in types if _UNWRITABLE.search(name)]
    for name in special:
        pattern = re.compile(name_pattern(name))
        for other, given in types.items():
            if other != name and given != types[name] and pattern.search(other):
                raise RecipeError(
                    f"{name} and {other} get different types, but llama-quantize cannot tell their names apart. "
                    "Export a GGUF instead (--as gguf)."
                )


def read_tensor_type_file(text: str) -> list[tuple[str, str]]:
    """(pattern, tensor type) pairs, read as llama-quantize reads them.

    Raises RecipeError for a word without pattern or type, and for a name that is no tensor type.
    """
    by_ggml_name = {kind.ggml_name.lower(): name for name, kind in TENSOR_TYPES.items()}
    pairs = []
    for word in text.split():
        pattern, equals, given = word.partition("=")
        if not pattern or not equals or given.lower() not in by_ggml_name:
            raise RecipeError(f"{word!r} is no PATTERN=TYPE that llama-quantize would read, such as attn_v=q6_K.")
        pairs.append((pattern.lower(), by_ggml_name[given.lower()]))
    return pairs


def types_by_pattern(pairs: Iterable[tuple[str, str]], names: Iterable[str]) -> dict[str, str]:
    """Tensor -> type of the first pattern that is found in its name; tensors that none fits are left out."""
    compiled = [(re.compile(pattern), given) for pattern, given in pairs]
    found = {}
    for name in names:
        given = next((given for pattern, given in compiled if pattern.search(name)), None)
        if given is not None:
            found[name] = given
    return found
