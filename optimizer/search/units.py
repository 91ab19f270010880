"""Which tensors decide together: by layers, by tensor groups of a layer, or one by one.

`token_embd`, `output` and every other tensor outside the blocks is a unit of its own. Groups follow llama.cpp's own
categories, so that tensors that its fused kernels read together (query and key, gate and up) keep one type.
"""

import re
from collections.abc import Iterable

UNIT_KINDS = ("layers", "groups", "tensors")
_BLOCK = re.compile(r"^blk\.(\d+)\.(.+?)(?:\.weight)?$")
_GROUPS = {
    "attn_q": "attn_qk",
    "attn_k": "attn_qk",
    "ffn_gate": "ffn_gate_up",
    "ffn_up": "ffn_gate_up",
    "ffn_gate_exps": "ffn_gate_up_exps",
    "ffn_up_exps": "ffn_gate_up_exps",
    "ffn_gate_shexp": "ffn_gate_up_shexp",
    "ffn_up_shexp": "ffn_gate_up_shexp",
    "ffn_gate_chexps": "ffn_gate_up_chexps",
    "ffn_up_chexps": "ffn_gate_up_chexps",
}


def layer_of(tensor: str) -> int | None:
    """The block a tensor belongs to, or None outside the blocks."""
    match = _BLOCK.match(tensor)
    return int(match[1]) if match else None


def role_of(tensor: str) -> str:
    """The part a tensor plays in its layer: `attn_qk`, `ffn_down`, `ssm`, … or its own name outside the blocks."""
    match = _BLOCK.match(tensor)
    if match is None:
        return tensor.removesuffix(".weight")
    base = match[2]
    return "ssm" if base.startswith("ssm_") else _GROUPS.get(base, base)


def unit_of(tensor: str, kind: str) -> str:
    """The name of the unit that decides a tensor's type."""
    layer = layer_of(tensor)
    if layer is None or kind == "tensors":
        return tensor.removesuffix(".weight")
    return f"blk.{layer}" if kind == "layers" else f"blk.{layer}.{role_of(tensor)}"


def group_tensors(tensors: Iterable[str], kind: str) -> dict[str, tuple[str, ...]]:
    """Unit name -> its tensors, both in the order of `tensors`."""
    units: dict[str, list[str]] = {}
    for tensor in tensors:
        units.setdefault(unit_of(tensor, kind), []).append(tensor)
    return {name: tuple(members) for name, members in units.items()}
