"""Chat templates: a conversation as the prompt text that a model was trained on.

A GGUF carries its template as Jinja source. It is rendered as Hugging Face's `apply_chat_template` does it
(transformers, utils/chat_template_utils.py), whose behaviour llama.cpp's own Jinja follows: a sandbox, `trim_blocks`,
`lstrip_blocks`, loop controls, `raise_exception`, `strftime_now`, `tojson` without HTML escapes. The template is a
stranger's program: it reaches nothing outside the sandbox.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NoReturn, Protocol

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from evaluators.errors import EvaluationInputError

Thinking = Literal["on", "off", "inject"]

# Templates that print the date would give other transcripts every day.
PINNED_DATE = datetime(2026, 1, 1)
_OPEN, _CLOSE = "<think>", "</think>"


class TemplateError(EvaluationInputError):
    """A chat template that is missing, is no Jinja, or refuses the conversation."""


class ChatMessage(Protocol):
    @property
    def role(self) -> str: ...

    @property
    def content(self) -> str: ...


class ChatTemplate:
    """One template with the model's BOS and EOS texts. Raises TemplateError when the source is no Jinja."""

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "", now: datetime = PINNED_DATE) -> None:
        self.source, self.bos_token, self.eos_token = source, bos_token, eos_token
        try:
            self._template = _environment(now).from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(
                f"the chat template is not valid Jinja (line {error.lineno}: {error.message}); give another one with "
                "--chat-template"
            ) from error

    def render(
        self, messages: Sequence[ChatMessage], *, thinking: Thinking = "on", add_generation_prompt: bool = True
    ) -> str:
        """The prompt text, ready for an assistant's answer. Raises TemplateError when the template refuses.

        thinking: "on" and "off" set the template's `enable_thinking`; "inject" renders with "on" and appends an empty
        thinking block, which also ends the thinking of models whose template has no such switch.
        """
        try:
            text = self._template.render(
                messages=[{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=add_generation_prompt,
                enable_thinking=thinking != "off",
                bos_token=self.bos_token,
                eos_token=self.eos_token,
                tools=None,
                documents=None,
            )
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            roles = ", ".join(message.role for message in messages)
            raise TemplateError(
                f"the chat template refuses the messages ({roles}): {error}; change the prompt's messages, or give "
                "another template with --chat-template"
            ) from error
        return inject_empty_thinking(text) if thinking == "inject" else text


def inject_empty_thinking(prompt: str) -> str:
    """The prompt with an empty thinking block at its end; a block that the template opened is closed instead."""
    opened = prompt.rstrip().endswith(_OPEN)
    return prompt.rstrip() + f"\n{_CLOSE}" if opened else prompt + f"{_OPEN}\n{_CLOSE}"


class _Generation(Extension):
    """`{% generation %}` marks the assistant's text for training; here it is only its contents."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(now: datetime) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: now.strftime(pattern)
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)
