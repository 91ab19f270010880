"""The part of JSON Schema that suites may use; another keyword is refused when the suite is loaded, never ignored.

type, enum, const, minimum, maximum, properties, required, additionalProperties (true or false), items (one schema for
all), minItems, maxItems, minLength, maxLength; with the meaning of JSON Schema 2020-12. `description` and `title` are
comments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
BOUNDS = ("minimum", "maximum")
COMMENTS = ("title", "description")
KEYWORDS = ("type", "enum", "const", *BOUNDS, "properties", "required", "additionalProperties", "items", *COUNTS)


def check_schema(schema: Any, where: str = "the schema") -> None:
    """Raises ValueError, naming the place, where a schema is not one of this part of JSON Schema."""
    if not isinstance(schema, dict):
        raise ValueError(f"{where} must be a mapping of keywords")
    for keyword, value in schema.items():
        if keyword in COMMENTS:
            continue
        if keyword not in KEYWORDS:
            raise ValueError(f"{where}: unknown keyword {keyword!r}; there are {', '.join(KEYWORDS)}")
        if not _well_formed(keyword, value):
            raise ValueError(f"{where}: {keyword} cannot be {value!r}")
    for name, part in schema.get("properties", {}).items():
        check_schema(part, f"{where}, property {name!r}")
    if "items" in schema:
        check_schema(schema["items"], f"{where}, items")
    undefined = [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]
    if undefined and schema.get("additionalProperties") is False:
        raise ValueError(f"{where}: required {undefined[0]!r} is no property, and no others are allowed")


def mismatch(value: Any, schema: Mapping[str, Any], where: str = "the value") -> str | None:
    """What is wrong with a parsed JSON value, the first thing found; None where it fits."""
    kinds = schema.get("type", ())
    kinds = (kinds,) if isinstance(kinds, str) else kinds
    if kinds and not any(TYPES[kind](value) for kind in kinds):
        return f"{where} is no {' or '.join(kinds)}"
    if "enum" in schema and not any(equal(value, each) for each in schema["enum"]):
        return f"{where} is {json.dumps(value)}, none of {json.dumps(schema['enum'])}"
    if "const" in schema and not equal(value, schema["const"]):
        return f"{where} is {json.dumps(value)}, not {json.dumps(schema['const'])}"
    if TYPES["number"](value) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{where} is {value}, out of bounds"
    if isinstance(value, str) and not _counts(len(value), schema, "Length"):
        return f"{where} has {len(value)} characters"
    if isinstance(value, list):
        return _array_mismatch(value, schema, where)
    return _object_mismatch(value, schema, where) if isinstance(value, dict) else None


def equal(left: Any, right: Any) -> bool:
    """JSON's equality: 1 equals 1.0, true does not equal 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    return bool(left == right)


def _array_mismatch(value: list[Any], schema: Mapping[str, Any], where: str) -> str | None:
    if not _counts(len(value), schema, "Items"):
        return f"{where} has {len(value)} items"
    found = (mismatch(item, schema.get("items", {}), f"{where}[{index}]") for index, item in enumerate(value))
    return next(filter(None, found), None)


def _object_mismatch(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    known = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            return f"{where} lacks {name!r}"
    for name in value:
        if name not in known and schema.get("additionalProperties") is False:
            return f"{where} has {name!r}, which it must not"
    found = (mismatch(value[name], part, f"{where}.{name}") for name, part in known.items() if name in value)
    return next(filter(None, found), None)


def _counts(count: int, schema: Mapping[str, Any], what: str) -> bool:
    return bool(schema.get(f"min{what}", 0) <= count <= schema.get(f"max{what}", count))


def _well_formed(keyword: str, value: Any) -> bool:
    if keyword == "type":
        kinds = value if isinstance(value, list) else [value]
        return bool(kinds) and all(isinstance(kind, str) and kind in TYPES for kind in kinds)
    if keyword in COUNTS:
        return TYPES["integer"](value) and value >= 0
    if keyword in BOUNDS:
        return TYPES["number"](value)
    if keyword == "enum":
        return isinstance(value, list) and bool(value)
    if keyword == "required":
        return isinstance(value, list) and all(isinstance(name, str) for name in value)
    if keyword == "properties":
        return isinstance(value, dict) and all(isinstance(name, str) for name in value)
    return keyword != "additionalProperties" or isinstance(value, bool)
