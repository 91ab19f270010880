"""Conversations rendered by chat templates, against hand-written results and against llama.cpp's own."""

import ctypes
from collections.abc import Sequence
from datetime import datetime

import llama_cpp.llama_cpp as low
import pytest

from evaluators.generation.templates import ChatTemplate, TemplateError
from tests.evaluators.generation.styles import CONVERSATION, STYLES, Style, Turn

USER = (Turn("user", "Hi"),)


def rendered_by_llama(template: str, turns: Sequence[Turn]) -> str:
    messages = (low.llama_chat_message * len(turns))(*[(turn.role.encode(), turn.content.encode()) for turn in turns])
    buffer = ctypes.create_string_buffer(4096)
    length = low.llama_chat_apply_template(template.encode(), messages, len(turns), True, buffer, len(buffer))
    assert 0 < length <= len(buffer), "llama.cpp does not know this format"
    return buffer.raw[:length].decode()


def conversation(style: Style) -> tuple[Turn, ...]:
    return CONVERSATION if style.system else CONVERSATION[1:]


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_well_known_formats(style: Style) -> None:
    template = ChatTemplate(style.template, bos_token=style.bos, eos_token=style.eos)
    assert template.render(conversation(style)) == style.expected


@pytest.mark.parametrize("style", STYLES.values(), ids=STYLES.keys())
def test_equal_to_llama_cpp(style: Style) -> None:
    """Its C API writes no BOS: the tokenizer adds that."""
    ours = ChatTemplate(style.template, bos_token="", eos_token=style.eos).render(conversation(style))
    assert ours == rendered_by_llama(style.template, conversation(style))


def test_thinking_on_off_and_injected() -> None:
    template = ChatTemplate(STYLES["qwen3"].template)
    on = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert template.render(USER) == on
    assert template.render(USER, thinking="off") == on + "<think>\n\n</think>\n\n"
    assert template.render(USER, thinking="inject") == on + "<think>\n</think>"


def test_an_opened_thinking_block_is_closed_not_opened_twice() -> None:
    template = ChatTemplate("{{ messages[0].content }}:<think>\n")
    assert template.render(USER, thinking="inject") == "Hi:<think>\n</think>"


def test_earlier_thinking_is_left_out_by_the_template() -> None:
    turns = (Turn("user", "a"), Turn("assistant", "<think>\nhm\n</think>\n\nb"), Turn("user", "c"))
    text = ChatTemplate(STYLES["qwen3"].template).render(turns, add_generation_prompt=False)
    assert text == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
    )


@pytest.mark.parametrize(("name", "roles"), [("gemma", ("system", "user")), ("mistral", ("user", "user"))])
def test_a_template_may_refuse(name: str, roles: tuple[str, ...]) -> None:
    with pytest.raises(TemplateError, match=rf"refuses the messages \({', '.join(roles)}\): .*--chat-template"):
        ChatTemplate(STYLES[name].template).render([Turn(role, "Hi") for role in roles])


def test_what_templates_are_given() -> None:
    source = (
        "{{ messages | tojson }}|{{ {'ü': '<'} | tojson(indent=1) }}|{{ strftime_now('%d %b %Y') }}|"
        "{% generation %}{{ bos_token + eos_token }}{% endgeneration %}|{{ tools is none }}|"
        "{% for n in range(9) %}{% if n == 1 %}{% continue %}{% elif n == 3 %}{% break %}{% endif %}{{ n }}{% endfor %}"
    )
    template = ChatTemplate(source, bos_token="<s>", eos_token="</s>", now=datetime(2024, 7, 26))
    assert template.render([Turn("user", "<b> & 'ö'")]) == (
        '[{"role": "user", "content": "<b> & \'ö\'"}]|{\n "ü": "<"\n}|26 Jul 2024|<s></s>|True|02'
    )


def test_blocks_leave_no_lines_and_no_indents() -> None:
    assert ChatTemplate("a\n  {% if true %}\n  b\n  {% endif %}\nc").render(USER) == "a\n  b\nc"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].missing.deeper }}",
        "{{ 1 / 0 }}",
        "{% for n in range(10 ** 9) %}{% endfor %}",
        "{{ messages[0]['content'] + 1 }}",
    ],
)
def test_templates_that_misbehave_are_an_error_of_ours(source: str) -> None:
    with pytest.raises(TemplateError, match="refuses"):
        ChatTemplate(source).render(USER)


def test_no_jinja_is_said_with_its_line() -> None:
    with pytest.raises(TemplateError, match="line 2"):
        ChatTemplate("{{ bos_token }}\n{% if %}")
