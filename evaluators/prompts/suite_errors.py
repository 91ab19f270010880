"""What pydantic finds wrong with a suite, told with file, line and prompt."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from evaluators.prompts.located_yaml import LocatedYaml, Place, SuiteError

MOST_ERRORS = 20


def all_errors(document: LocatedYaml, error: ValidationError) -> SuiteError:
    """One line a mistake, at most `MOST_ERRORS`."""
    found = error.errors(include_url=False)
    places = [each["loc"] for each in found]
    lines = [
        f"{document.path}:{document.line(each['loc'])}: {_where(document, each['loc'])}{_said(each)}"
        for each in found
        # A list whose every entry is wrong also counts as empty.
        if each["type"] != "too_short" or not any(each["loc"] == place[: len(each["loc"])] != place for place in places)
    ]
    more = [f"{document.path}: and {len(lines) - MOST_ERRORS} more"] if len(lines) > MOST_ERRORS else []
    return SuiteError("\n".join([*lines[:MOST_ERRORS], *more]))


def _where(document: LocatedYaml, place: Place) -> str:
    """`p004, checks.0.number: ` for the place of a mistake."""
    name = ""
    if place[:1] == ("prompts",) and len(place) > 1:
        entry = document.data["prompts"][place[1]]
        if isinstance(entry, dict) and isinstance(entry.get("id"), str):
            name, place = entry["id"], place[2:]
    inner = ".".join(map(str, place))
    return ", ".join(part for part in (name, inner) if part) + ": "


def _said(error: Any) -> str:
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    known = {
        "extra_forbidden": "there is no such key; docs/prompts.md lists them",
        "model_type": "must be a mapping of keys",
        "tuple_type": "must be a list",
        "too_short": "too few are given",
        "missing": "is missing",
    }
    if kind == "string_type":
        message += "; put it in quotes"
    return known.get(kind, message[0].lower() + message[1:])
