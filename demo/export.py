"""Write the trained model as llama.cpp's converter would write a Qwen3 model: norms F32, everything else F16."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from demo.corpus import END_OF_TEXT
from demo.model import Model
from demo.outliers import add_outliers

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}Question: {{ message['content'] }}\n"
    "{% elif message['role'] == 'assistant' %}Answer: {{ message['content'] }}\n\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
OUTLIER_SEED = 1
LAYER_NAMES = {
    "attention_norm": "attn_norm", "query": "attn_q", "key": "attn_k", "value": "attn_v", "query_norm": "attn_q_norm",
    "key_norm": "attn_k_norm", "attention_output": "attn_output", "feed_forward_norm": "ffn_norm", "gate": "ffn_gate",
    "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
OUTER_NAMES = {"embedding": "token_embd", "output_norm": "output_norm", "output": "output"}


def tensor_name(parameter: str) -> str:
    """``layers.3.query.weight`` -> ``blk.3.attn_q.weight``."""
    parts = parameter.split(".")
    if parts[0] == "layers":
        return f"blk.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"
    return f"{OUTER_NAMES[parts[0]]}.weight"


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    identifiers = tokenizer.get_vocab()
    tokens = sorted(identifiers, key=identifiers.__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    end = identifiers[END_OF_TEXT]
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([control if token == END_OF_TEXT else normal for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    if np.abs(values).max() > 60_000:
        raise ValueError("a weight is too large for F16: train with a lower rate or more weight decay")
    return values.astype(np.float16)


def write_gguf(model: Model, tokenizer: Tokenizer, path: Path) -> None:
    shape = model.shape
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name("layerquant demo")
    writer.add_description("A small model for layerquant's demonstration: worked word problems and plain narrative")
    writer.add_size_label("6.6M")
    writer.add_license("mit")
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_vocabulary(writer, tokenizer)
    weights = {tensor_name(name): values.detach().float().numpy().copy() for name, values in model.named_parameters()}
    add_outliers(weights, shape.layers, shape.head_width, OUTLIER_SEED)
    for name, values in weights.items():
        writer.add_tensor(name, half(values) if values.ndim == 2 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
