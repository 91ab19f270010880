"""What a tensor does in its layer, and which tensors a definition's key means.

The role is the name without its layer and suffix: `blk.7.ffn_down_exps.weight` is `ffn_down_exps`.
"""

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from optimizer.gguf import block_number

_BLOCK_PREFIX = re.compile(r"blk\.\d+\.")

TOKEN_EMBEDDING = "token_embd.weight"
OUTPUT = "output.weight"
EMBEDDING_TABLES = (TOKEN_EMBEDDING, "per_layer_token_embd.weight")
"""What --token-embedding-type sets."""

VALUE_ROLES = frozenset({"attn_v", "attn_qkv", "attn_kv_b"})
"""What llama.cpp treats as attn_v, fused matrices included (category_is_attn_v)."""


def role_of(name: str) -> str:
    return _BLOCK_PREFIX.sub("", name, count=1).removesuffix(".weight")


def layers_of(names: Iterable[str], n_layer: int) -> dict[int, dict[str, str]]:
    """For each layer of the model, role -> tensor name; empty where nothing of a layer is quantizable."""
    layers: dict[int, dict[str, str]] = {layer: {} for layer in range(n_layer)}
    for name in names:
        layer = block_number(name)
        if layer in layers:
            layers[layer][role_of(name)] = name
    return layers


def outside_layers(names: Iterable[str], n_layer: int) -> tuple[str, ...]:
    return tuple(name for name in names if not 0 <= block_number(name) < n_layer)


def match_role(role: str, keys: Mapping[str, str]) -> str | None:
    """The value of the key that means this role: the role itself, else the first pattern (`ffn_down*`) that fits."""
    if role in keys:
        return keys[role]
    return next((value for key, value in keys.items() if "*" in key and fnmatchcase(role, key)), None)
