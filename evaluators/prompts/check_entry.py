"""One entry of a prompt's `checks`: a mapping with one key, the check's name."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evaluators.prompts.code_check import CodeCheck
from evaluators.prompts.json_check import JsonCheck
from evaluators.prompts.number_check import NumberCheck
from evaluators.prompts.regex_check import Regex
from evaluators.prompts.text_checks import AllOf, AnyOf, Exact, NoneOf, NotEmpty
from evaluators.prompts.verdict import Check


class CheckEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    exact: Exact | None = None
    number: NumberCheck | None = None
    all_of: AllOf | None = Field(None, alias="all")
    any_of: AnyOf | None = Field(None, alias="any")
    none_of: NoneOf | None = Field(None, alias="none")
    regex: Regex | None = None
    json_schema: JsonCheck | None = Field(None, alias="json")
    code: CodeCheck | None = None
    choice: NotEmpty | None = None  # the right option's text; it becomes a check with the prompt's options

    @model_validator(mode="after")
    def _one(self) -> CheckEntry:
        given = [value for value in self.__dict__.values() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "each entry of checks is one check, `- NAME: VALUE`; there are "
                "exact, number, all, any, none, regex, json, code and choice"
            )
        return self

    def check(self) -> Check:
        """The check; `choice` is none by itself and raises ValueError."""
        found = (
            self.exact,
            self.number,
            self.all_of,
            self.any_of,
            self.none_of,
            self.regex,
            self.json_schema,
            self.code,
        )
        for each in found:
            if each is not None:
                return each
        raise ValueError("a choice needs its options")
