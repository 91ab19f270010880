"""The check that an answer is, or holds, JSON of a given form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import field_validator, model_validator

from evaluators.prompts.answers import fenced_blocks
from evaluators.prompts.json_schema import check_schema, mismatch
from evaluators.prompts.sandbox import Sandbox
from evaluators.prompts.verdict import CheckSettings, Judgement, shortened

NOTHING = object()
MOST_BEGINNINGS = 200


class JsonCheck(CheckSettings):
    """The answer's JSON fits `value`, a schema. `only`: nothing but JSON may be there, no words and no fence."""

    value: dict[str, Any]
    only: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        """A mapping without the key `value` is the schema itself."""
        return given if isinstance(given, dict) and "value" in given else {"value": given}

    @field_validator("value")
    @classmethod
    def _is_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        check_schema(schema)
        return schema

    def judge(self, answer: str, sandbox: Sandbox) -> Judgement:
        value = _parsed(answer) if self.only else answered_json(answer)
        if value is NOTHING:
            kind = "is not JSON alone" if self.only else "holds no JSON"
            return Judgement(False, (f"{kind}: {shortened(answer)!r}",))
        wrong = mismatch(value, self.value)
        return Judgement.of(wrong is None, f"JSON does not fit: {wrong}")


def answered_json(answer: str) -> Any:
    """The whole answer, else the last fenced block that parses, else the last object or array; else NOTHING."""
    candidates = [answer, *(content for _, content in reversed(fenced_blocks(answer)))]
    for text in candidates:
        value = _parsed(text)
        if value is not NOTHING:
            return value
    found = list(_embedded(answer))
    return found[-1] if found else NOTHING


def _embedded(answer: str) -> Iterator[Any]:
    """Outermost objects and arrays in running text, from the left; at most `MOST_BEGINNINGS` brackets are tried."""
    decoder = json.JSONDecoder(parse_constant=_refused)
    at, tried = 0, 0
    while tried < MOST_BEGINNINGS:
        beginnings = [place for place in (answer.find("{", at), answer.find("[", at)) if place >= 0]
        if not beginnings:
            return
        at, tried = min(beginnings), tried + 1
        try:
            value, at = decoder.raw_decode(answer, at)
            yield value
        except (ValueError, RecursionError):
            at += 1


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return NOTHING


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
