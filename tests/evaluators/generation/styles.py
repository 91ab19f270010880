"""Ten well-known chat formats, in short templates of our own, with what each must give, written by hand.

The conversation is CONVERSATION; formats that refuse a system message are given it without.
"""

from typing import NamedTuple


class Turn(NamedTuple):
    role: str
    content: str


class Style(NamedTuple):
    template: str
    expected: str
    bos: str = ""
    eos: str = ""
    system: bool = True


CONVERSATION = (
    Turn("system", "Be brief."), Turn("user", "Is 1 < 2?"), Turn("assistant", "Yes."), Turn("user", "And 3 & 4?"),
)  # fmt: skip

STYLES = {
    "chatml": Style(
        """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\n' }}
{%- endif %}
""",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nIs 1 < 2?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nAnd 3 & 4?<|im_end|>\n<|im_start|>assistant\n",
    ),
    "llama3": Style(
        "{% for message in messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        " + message['content'] | trim + '<|eot_id|>' %}{% if loop.first %}{% set content = bos_token + content %}"
        "{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nIs 1 < 2?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nYes.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nAnd 3 & 4?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        bos="<|begin_of_text|>",
    ),
    "mistral": Style(
        "{% set first = messages[0] %}{% if first['role'] == 'system' %}{% set system_message = first['content'] %}"
        "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}"
        "{% for message in turns %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
        "{% if message['role'] == 'user' %}{% if loop.first and system_message is defined %}"
        "{{ ' [INST] ' + system_message + '\n\n' + message['content'] + ' [/INST]' }}{% else %}"
        "{{ ' [INST] ' + message['content'] + ' [/INST]' }}{% endif %}"
        "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}",
        "<s> [INST] Be brief.\n\nIs 1 < 2? [/INST] Yes.</s> [INST] And 3 & 4? [/INST]",
        bos="<s>",
        eos="</s>",
    ),
    "gemma": Style(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
        "{% else %}{% set role = message['role'] %}{% endif %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        "<bos><start_of_turn>user\nIs 1 < 2?<end_of_turn>\n<start_of_turn>model\nYes.<end_of_turn>\n"
        "<start_of_turn>user\nAnd 3 & 4?<end_of_turn>\n<start_of_turn>model\n",
        bos="<bos>",
        system=False,
    ),
    "phi3": Style(
        """{% for message in messages %}
{% if message['role'] == 'system' %}
{{ '<|system|>\n' + message['content'] + '<|end|>\n' }}{% elif message['role'] == 'user' %}
{{ '<|user|>\n' + message['content'] + '<|end|>\n' }}{% else %}
{{ '<|assistant|>\n' + message['content'] + '<|end|>\n' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}""",
        "<|system|>\nBe brief.<|end|>\n<|user|>\nIs 1 < 2?<|end|>\n<|assistant|>\nYes.<|end|>\n"
        "<|user|>\nAnd 3 & 4?<|end|>\n<|assistant|>\n",
        eos="<|endoftext|>",
    ),
    "deepseek": Style(
        "{% set state = namespace(system='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}"
        "{% set state.system = message['content'] %}{%- endif %}{%- endfor %}{{ bos_token }}{{ state.system }}"
        "{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}"
        "{%- elif message['role'] == 'assistant' %}"
        "{{ '<｜Assistant｜>' + message['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}{%- endif %}"
        "{%- endfor %}{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% endif %}",
        "<｜begin▁of▁sentence｜><｜User｜>Is 1 < 2?<｜Assistant｜>Yes.<｜end▁of▁sentence｜>"
        "<｜User｜>And 3 & 4?<｜Assistant｜>",
        bos="<｜begin▁of▁sentence｜>",
        system=False,  # the C API puts two newlines after a system message, the model's template none
    ),
    "granite": Style(
        """{% for message in messages %}
{{ '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] + '<|end_of_text|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}
{{ '<|start_of_role|>assistant<|end_of_role|>' }}
{%- endif %}
""",
        "<|start_of_role|>system<|end_of_role|>Be brief.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>Is 1 < 2?<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>Yes.<|end_of_text|>\n"
        "<|start_of_role|>user<|end_of_role|>And 3 & 4?<|end_of_text|>\n"
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "vicuna": Style(
        "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
        "{% elif message['role'] == 'user' %}{{ 'USER: ' + message['content'] + '\n' }}"
        "{% else %}{{ 'ASSISTANT: ' + message['content'] + '</s>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
        "Be brief.\n\nUSER: Is 1 < 2?\nASSISTANT: Yes.</s>\nUSER: And 3 & 4?\nASSISTANT:",
    ),
    "command-r": Style(
        "{{ bos_token }}{% for message in messages %}"
        "{% if message['role'] == 'assistant' %}{% set mark = '<|CHATBOT_TOKEN|>' %}"
        "{% elif message['role'] == 'user' %}{% set mark = '<|USER_TOKEN|>' %}"
        "{% else %}{% set mark = '<|SYSTEM_TOKEN|>' %}{% endif %}"
        "{{ '<|START_OF_TURN_TOKEN|>' + mark + message['content'] | trim + '<|END_OF_TURN_TOKEN|>' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}",
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Is 1 < 2?<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>Yes.<|END_OF_TURN_TOKEN|>"
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>And 3 & 4?<|END_OF_TURN_TOKEN|><|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        bos="<BOS_TOKEN>",
    ),
    "qwen3": Style(
        """{%- set last = namespace(user=0) %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' %}
        {%- set last.user = (messages | length - 1) - loop.index0 %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' and '</think>' in content and loop.index0 < last.user %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}
""",
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nIs 1 < 2?<|im_end|>\n"
        "<|im_start|>assistant\nYes.<|im_end|>\n<|im_start|>user\nAnd 3 & 4?<|im_end|>\n<|im_start|>assistant\n",
    ),
}
