"""JSON in an answer, and the part of JSON Schema that is known."""

from typing import Any

import pytest

from evaluators.prompts.json_check import NOTHING, JsonCheck, answered_json
from evaluators.prompts.json_schema import check_schema, mismatch
from tests.evaluators.prompts.sandboxes import Recorded


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"a": 1}', {"a": 1}),
        ("12", 12),
        ('Here:\n```json\n{"a": 1}\n```\nDone.', {"a": 1}),
        ('```python\nx = {}\n```\n```json\n{"a": 2}\n```', {"a": 2}),
        ('First {"a": 1}, rather {"a": {"b": [2]}}.', {"a": {"b": [2]}}),
        ("A set {x} and a list [1, 2]", [1, 2]),
        ("{" * 50_000 + "1", NOTHING),
        ('{"a": NaN}', NOTHING),
        ("none", NOTHING),
    ],
)
def test_json_is_found_in_an_answer(answer: str, value: Any) -> None:
    assert answered_json(answer) == value


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object"}, [{}], [[], "a", 1, None]),
        ({"type": "integer"}, [1, 1.0], [1.5, True, "1"]),
        ({"type": "number"}, [1, 1.5], [True, "1"]),
        ({"type": ["string", "null"]}, ["a", None], [1, []]),
        ({"type": "boolean"}, [True], [0]),
        ({"enum": ["a", 1]}, ["a", 1, 1.0], ["b", True]),
        ({"const": {"a": [1, True]}}, [{"a": [1.0, True]}], [{"a": [1, 1]}, {"a": [1]}, {"a": [1, True], "b": 1}]),
        ({"minimum": 1, "maximum": 3}, [1, 3, "a"], [0.5, 4]),
        ({"minLength": 1, "maxLength": 2}, ["a", "ab", 5], ["", "abc"]),
        ({"items": {"type": "string"}, "minItems": 1, "maxItems": 2}, [["a"], "x"], [[], ["a", 1], ["a", "b", "c"]]),
        ({"required": ["a"]}, [{"a": None}, 3], [{}]),
        ({"properties": {"a": {"const": 1}}}, [{"a": 1}, {}, {"b": 2}], [{"a": 2}]),
        ({"properties": {"a": {}}, "additionalProperties": False}, [{"a": 2}, {}], [{"b": 1}]),
    ],
)
def test_schema_keywords(schema: dict[str, Any], good: list[Any], bad: list[Any]) -> None:
    check_schema(schema)
    assert [mismatch(value, schema) for value in good] == [None] * len(good)
    assert None not in [mismatch(value, schema) for value in bad]


@pytest.mark.parametrize(
    "schema",
    [
        {"oneOf": []},
        {"properties": {"a": {"pattern": "x"}}},
        {"items": [{}, {}]},
        {"type": "float"},
        {"type": []},
        {"enum": []},
        {"minItems": -1},
        {"maximum": "3"},
        {"required": "a"},
        {"additionalProperties": {}},
        {"required": ["b"], "properties": {"a": {}}, "additionalProperties": False},
    ],
)
def test_schemas_that_would_not_do_what_they_say_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the schema"):
        JsonCheck.model_validate(schema)


def test_only_json_means_no_words_and_no_fence() -> None:
    only = JsonCheck.model_validate({"only": True, "value": {"type": "object"}})
    assert only.judge('{"a": 1}', Recorded(None)).passed
    assert not only.judge('```json\n{"a": 1}\n```', Recorded(None)).passed
    assert not only.judge('It is {"a": 1}', Recorded(None)).passed
    said = JsonCheck.model_validate({"properties": {"a": {"items": {"const": 1}}}}).judge(
        '{"a": [1, 2]}', Recorded(None)
    )
    assert said.reasons == ("JSON does not fit: the value.a[1] is 2, not 1",)
