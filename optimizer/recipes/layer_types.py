"""The LAYER_TYPES grammar, both ways (docs/layer-types.md describes it for people).

A JSON list of rows. `[7, "Q4_K_M"]` gives layer 7 a layer type; a row of strings, `["MAP", "VOD", ...]`, is a meta
row. It may stand alone or in its shell form: LAYER_TYPES='[...]', with FLAGS="..." beside it. Reading asks nothing of a
model; whether the layers are all there and the names mean something is found out when a recipe is made (resolve.py).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.errors import RecipeError
from optimizer.recipes.flags import Flags, parse_flags

Row = tuple[int, str]
MetaRow = tuple[str, ...]

_ASSIGNMENT = re.compile(
    r"(?:^|[\s;])(?:export\s+)?LAYER_TYPES\s*=\s*(?:'(?P<single>[^']*)'|(?P<bare>\[.*))", re.DOTALL
)
_FLAGS = re.compile(r"(?:^|[\s;])(?:export\s+)?FLAGS\s*=\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')")
_UNCLOSED = re.compile(r"(?:^|[\s;])LAYER_TYPES\s*=\s*'[^']*\Z")


@dataclass(frozen=True, slots=True)
class LayerTypes:
    rows: tuple[Row, ...]
    """(layer, name of its layer type), in the order they were written."""
    meta_rows: tuple[MetaRow, ...] = ()
    flags: Flags | None = None
    """None where no FLAGS were given at all."""

    def names(self) -> dict[int, str]:
        return dict(self.rows)


def parse(text: str) -> LayerTypes:
    """Reads a LAYER_TYPES list, bare or in its shell form.

    Raises RecipeError with line and column for text that is no JSON, for a row of another form, and for a layer given
    twice.
    """
    content, flags = _unwrap(text)
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        line = content.splitlines()[error.lineno - 1] if content.strip() else ""
        near = line[max(0, error.colno - 21) : error.colno + 19].strip()
        raise RecipeError(
            f"LAYER_TYPES is no JSON: {error.msg} at line {error.lineno}, column {error.colno}"
            + (f", near {near!r}" if near else "")
            + '. Write it as [[0,"Q4_K_M"],[1,"Q4_K_S"]], one row a layer.'
        ) from error
    except RecursionError as error:
        raise RecipeError('LAYER_TYPES is nested too deeply. Write it as [[0,"Q4_K_M"],[1,"Q4_K_S"]].') from error
    if not isinstance(document, list):
        raise RecipeError('LAYER_TYPES is no list of rows. Write it as [[0,"Q4_K_M"],[1,"Q4_K_S"]], one row a layer.')
    rows: list[Row] = []
    meta_rows: list[MetaRow] = []
    for number, row in enumerate(document):
        if _is_layer_row(row):
            rows.append((row[0], row[1].strip()))
        elif _is_meta_row(row):
            meta_rows.append(tuple(row))
        else:
            raise RecipeError(
                f"row {number + 1} of LAYER_TYPES is {json.dumps(row)[:80]}; a row is a layer from 0 up with its "
                'layer type, [7,"Q4_K_M"], or two strings and more, ["MAP","VOD",...].'
            )
    _refuse_duplicates(rows)
    return LayerTypes(tuple(rows), tuple(meta_rows), flags)


def format_json(layer_types: LayerTypes) -> str:
    """One row a line. What FLAGS say is not in it; `format_shell` has both."""
    rows: list[Sequence[Any]] = [*layer_types.meta_rows, *layer_types.rows]
    lines = [json.dumps(row, separators=(",", ":"), ensure_ascii=True).replace("'", "\\u0027") for row in rows]
    return "[\n" + ",\n".join(lines) + "\n]" if lines else "[]"


def format_shell(layer_types: LayerTypes) -> str:
    """FLAGS="..." where there are flags, and LAYER_TYPES='[...]', to be pasted into a shell script."""
    lines = [] if layer_types.flags is None else [f'FLAGS="{layer_types.flags}"']
    return "\n".join([*lines, f"LAYER_TYPES='{format_json(layer_types)}'"]) + "\n"


def _is_layer_row(row: Any) -> bool:
    if not (isinstance(row, list) and len(row) == 2):
        return False
    layer, name = row
    return type(layer) is int and layer >= 0 and isinstance(name, str) and bool(name.strip())


def _is_meta_row(row: Any) -> bool:
    is_words = isinstance(row, list) and len(row) > 1 and all(isinstance(word, str) and word for word in row)
    return is_words and not row[0].strip().lstrip("+-").isdigit()  # ["7","Q4_K_M"] is a layer row gone wrong


def _refuse_duplicates(rows: Sequence[Row]) -> None:
    seen: dict[int, str] = {}
    for layer, name in rows:
        if layer in seen:
            raise RecipeError(
                f"layer {layer} stands in LAYER_TYPES twice, as {seen[layer]} and as {name}. Keep one row."
            )
        seen[layer] = name


def _unwrap(text: str) -> tuple[str, Flags | None]:
    if text.lstrip().startswith("["):
        return text, None
    flags = _FLAGS.search(text)
    parsed = None
    if flags is not None:
        parsed = parse_flags(flags["double"] if flags["double"] is not None else flags["single"])
        text = text[: flags.start()] + "\n" + text[flags.end() :]
    if _UNCLOSED.search(text):
        raise RecipeError("LAYER_TYPES='... has no closing quote. Put ' behind the last bracket.")
    assignment = _ASSIGNMENT.search(text)
    if assignment is None:
        return text, parsed
    return assignment["single"] if assignment["single"] is not None else assignment["bare"], parsed
