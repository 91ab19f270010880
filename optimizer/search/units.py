"""Which tensors decide together: by layers, by tensor groups of a layer, or one by one.

`token_embd`, `output` and every other tensor outside the blocks is a unit of its own. Groups follow llama.cpp's own
categories, so that tensors that its fused kernels read together (query and key, gate and up) keep one type. A role
that no table names is a group of its own: a fused `attn_qkv`, the low-rank matrices of latent attention, `attn_gate`.
"""

import re
from collections.abc import Iterable

UNIT_KINDS = ("layers", "groups", "tensors")
_BLOCK = re.compile(r"^blk\.(\d+)\.(.+?)(?:\.weight)?$")
_PAIRS = {"attn_q": "attn_qk", "attn_k": "attn_qk"} | {
    f"ffn_{half}{kind}": f"ffn_gate_up{kind}"
    for half in ("gate", "up")
    for kind in ("", "_exps", "_shexp", "_chexps")  # dense, routed experts, shared expert, chunked experts
}
_FAMILIES = (("ssm_", "ssm"), ("nextn.", "nextn"))
"""State-space tensors of a layer, and those that a multi-token-prediction block has beyond a plain one."""


def layer_of(tensor: str) -> int | None:
    """The block a tensor belongs to, or None outside the blocks."""
    match = _BLOCK.match(tensor)
    return int(match[1]) if match else None


def role_of(tensor: str) -> str:
    """The part a tensor plays in its layer: `attn_qk`, `ffn_down`, `ssm`, … or its own name outside the blocks."""
    match = _BLOCK.match(tensor)
    if match is None:
        return unit_name(tensor)
    base = match[2]
    family = next((name for prefix, name in _FAMILIES if base.startswith(prefix)), base)
    return _PAIRS.get(base, family)


def unit_name(tensor: str) -> str:
    """The name of the unit that a tensor makes on its own."""
    return tensor.removesuffix(".weight")


def unit_of(tensor: str, kind: str) -> str:
    """The name of the unit that decides a tensor's type."""
    layer = layer_of(tensor)
    if layer is None or kind == "tensors":
        return unit_name(tensor)
    return f"blk.{layer}" if kind == "layers" else f"blk.{layer}.{role_of(tensor)}"


def group_tensors(tensors: Iterable[str], kind: str) -> dict[str, tuple[str, ...]]:
    """Unit name -> its tensors, both in the order of `tensors`."""
    units: dict[str, list[str]] = {}
    for tensor in tensors:
        units.setdefault(unit_of(tensor, kind), []).append(tensor)
    return {name: tuple(members) for name, members in units.items()}
