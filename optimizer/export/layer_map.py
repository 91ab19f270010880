"""Which type each tensor of a recipe has, by layer and role: the data behind the map of a report."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from optimizer.gguf import TENSOR_TYPES, block_number
from optimizer.recipes.roles import role_of

_ORDER = ("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


@dataclass(frozen=True, slots=True)
class LayerMap:
    roles: tuple[str, ...]
    layers: tuple[int, ...]
    types: tuple[tuple[str | None, ...], ...]
    """[role][layer]; None where a layer has no such tensor."""
    outside: tuple[tuple[str, str], ...]
    """(tensor, type) of what lies outside the layers: embeddings, output."""

    @property
    def bits(self) -> list[list[float | None]]:
        """Bits per weight, [role][layer]."""
        return [[None if kind is None else TENSOR_TYPES[kind].bits_per_weight for kind in row] for row in self.types]

    def summary(self) -> list[tuple[str, str]]:
        """(role or tensor, `Q4_K x 12, Q6_K x 4`), most frequent first."""
        lines = list(self.outside)
        for role, row in zip(self.roles, self.types, strict=True):
            counts = Counter(kind for kind in row if kind is not None).most_common()
            lines.append((role, ", ".join(f"{kind} x {count}" for kind, count in counts)))
        return lines


def layer_map(tensor_types: Mapping[str, str]) -> LayerMap:
    """Sorts a recipe's tensors into layers and roles; the usual roles first, in a layer's own order."""
    inside: dict[tuple[str, int], str] = {}
    outside = []
    for name, kind in tensor_types.items():
        layer = block_number(name)
        if layer < 0:
            outside.append((name, kind))
        else:
            inside[role_of(name), layer] = kind
    roles = tuple(sorted({role for role, _ in inside}, key=_position))
    layers = tuple(sorted({layer for _, layer in inside}))
    types = tuple(tuple(inside.get((role, layer)) for layer in layers) for role in roles)
    return LayerMap(roles, layers, types, tuple(outside))


def _position(role: str) -> tuple[int, str]:
    known = next((number for number, start in enumerate(_ORDER) if role == start or role.startswith(f"{start}_")), None)
    return (len(_ORDER) if known is None else known, role)
