"""A suite as YAML: pydantic checks it, and every mistake is told with file and line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from evaluators.prompts.check_entry import CheckEntry
from evaluators.prompts.choice import MOST_OPTIONS, PLACEHOLDER, Options
from evaluators.prompts.located_yaml import LocatedYaml, Place
from evaluators.prompts.prompt import Message, Prompt, Thinking
from evaluators.prompts.suite_errors import all_errors
from evaluators.prompts.text_checks import NotEmpty
from evaluators.prompts.verdict import Check

TEXT_REFERENCE = re.compile(r"\{text:([^{}\s]*)\}")
# YAML 1.1 reads on and off as true and false.
ThinkingGiven = Annotated[
    Thinking, BeforeValidator(lambda given: ("off", "on")[given] if isinstance(given, bool) else given)
]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _MessageGiven(_Part):
    role: Literal["system", "user", "assistant"]
    content: NotEmpty


class _Defaults(_Part):
    thinking: ThinkingGiven = "on"
    max_tokens: MaxTokens = 4096


class _PromptGiven(_Part):
    id: Identifier
    category: Identifier
    prompt: NotEmpty | None = None
    messages: Annotated[tuple[_MessageGiven, ...] | None, Field(min_length=1)] = None
    raw: NotEmpty | None = None
    thinking: ThinkingGiven | None = None
    max_tokens: MaxTokens | None = None
    options: Annotated[tuple[NotEmpty, ...] | None, Field(min_length=2, max_length=MOST_OPTIONS)] = None
    checks: Annotated[tuple[CheckEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> _PromptGiven:
        if sum(each is not None for each in (self.prompt, self.messages, self.raw)) != 1:
            raise ValueError("give exactly one of prompt, messages and raw")
        if self.messages is not None and self.messages[-1].role != "user":
            raise ValueError("the last of the messages must be the user's")
        if self.raw is not None and self.thinking is not None:
            raise ValueError(
                "a raw prompt has no chat template, so it takes no thinking; write the marks into the text"
            )
        choices = [entry.choice for entry in self.checks if entry.choice is not None]
        if (self.options is None) == bool(choices) or len(choices) > 1:
            raise ValueError("options and one check `choice` belong together")
        if self.options is not None:
            if len(set(self.options)) < len(self.options):
                raise ValueError("an option is given twice")
            if choices[0] not in self.options:
                raise ValueError(f"choice {choices[0]!r} is none of the options")
        if sum(text.count(PLACEHOLDER) for text in self.texts()) != (self.options is not None):
            raise ValueError(f"{PLACEHOLDER} must stand once where the options shall be, and only where there are some")
        return self

    def texts(self) -> list[str]:
        return [
            *(message.content for message in self.messages or ()),
            *(text for text in (self.prompt, self.raw) if text is not None),
        ]


class _SuiteGiven(_Part):
    name: Identifier
    description: str = ""
    defaults: _Defaults = _Defaults()
    texts: Mapping[Identifier, NotEmpty] = {}
    prompts: Annotated[tuple[_PromptGiven, ...], Field(min_length=1)]


def read_suite_file(path: Path) -> tuple[str, tuple[Prompt, ...]]:
    """(name, prompts); raises SuiteError."""
    document = LocatedYaml.read(path)
    if not isinstance(document.data, dict):
        raise document.error((), "a suite is a mapping with `name` and `prompts`")
    try:
        given = _SuiteGiven.model_validate(document.data)
    except ValidationError as error:
        raise all_errors(document, error) from error
    seen: dict[str, int] = {}
    for index, prompt in enumerate(given.prompts):
        place: Place = ("prompts", index, "id")
        if prompt.id in seen:
            raise document.error(place, f"the id {prompt.id!r} is given twice, first in line {seen[prompt.id]}")
        seen[prompt.id] = document.line(place)
        for name in [name for text in prompt.texts() for name in TEXT_REFERENCE.findall(text)]:
            if name not in given.texts:
                raise document.error(("prompts", index), f"{prompt.id}: no text {name!r} among the suite's texts")
    return given.name, tuple(_prompt(prompt, given) for prompt in given.prompts)


def _prompt(given: _PromptGiven, suite: _SuiteGiven) -> Prompt:
    if given.options is None:
        return _with_options(given, suite, None, None)
    right = next(entry.choice for entry in given.checks if entry.choice is not None)
    options = Options(given.options, given.options.index(right))
    return _with_options(given, suite, options, _with_options(given, suite, options.rotated(), None))


def _with_options(given: _PromptGiven, suite: _SuiteGiven, options: Options | None, rotated: Prompt | None) -> Prompt:
    def filled(text: str) -> str:
        if options is not None:
            text = text.replace(PLACEHOLDER, options.shown())
        return TEXT_REFERENCE.sub(lambda match: suite.texts[match[1]], text)

    messages = given.messages
    if given.prompt is not None:
        messages = (_MessageGiven(role="user", content=given.prompt),)
    checks: list[Check] = [
        options.check() if options is not None and entry.choice is not None else entry.check() for entry in given.checks
    ]
    return Prompt(
        id=given.id,
        category=given.category,
        messages=None if messages is None else tuple(Message(each.role, filled(each.content)) for each in messages),
        text=None if given.raw is None else filled(given.raw),
        thinking=given.thinking or suite.defaults.thinking,
        max_tokens=given.max_tokens or suite.defaults.max_tokens,
        checks=tuple(checks),
        rotated=rotated,
    )
