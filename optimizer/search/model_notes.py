"""What a plan says of a model beyond sizes: rows that few types fit, tensors kept as published, blocks never run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.gguf.model_file import NATIVE_TYPES, ModelFile
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.roles import role_of
from optimizer.recipes.sizes import SizeTable
from optimizer.search.budget import show_bytes
from optimizer.search.space_building import K_TENSOR_TYPES
from optimizer.search.unseen import unseen_layers


@dataclass(frozen=True)
class FallbackGroup:
    """Tensors of one role whose rows are no whole number of a K-quant's blocks."""

    role: str
    row_length: int
    tensors: tuple[str, ...]
    types: Mapping[str, str]
    """K-quant -> what the tensors get where it is asked for."""
    n_bytes: Mapping[str, int]
    """K-quant -> bytes of all the tensors at what they get."""

    def as_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "row_length": self.row_length,
            "tensors": len(self.tensors),
            "types": dict(self.types),
            "bytes": dict(self.n_bytes),
        }

    def __str__(self) -> str:
        given = ", ".join(
            f"{wanted} becomes {got} ({type_of(got).bits_per_weight:g} bits, {show_bytes(self.n_bytes[wanted])})"
            for wanted, got in self.types.items()
            if got != wanted
        )
        count = "1 tensor" if len(self.tensors) == 1 else f"{len(self.tensors)} tensors"
        return f"{self.role}: rows of {self.row_length} in {count}: {given}"


def fallback_groups(model: ModelFile, sizes: SizeTable, quantizable: Sequence[str]) -> list[FallbackGroup]:
    """By role and row length, in the model's order; empty where every row fits every type."""
    members: dict[tuple[str, int], list[str]] = {}
    for name in quantizable:
        length = model.by_name[name].row_length
        if fallback_type("Q4_K", length) != "Q4_K":
            members.setdefault((role_of(name), length), []).append(name)
    groups = []
    for (role, length), names in members.items():
        types = {wanted: fallback_type(wanted, length) for wanted in K_TENSOR_TYPES}
        n_bytes = {wanted: sum(sizes.tensor_bytes(name, given) for name in names) for wanted, given in types.items()}
        groups.append(FallbackGroup(role, length, tuple(names), types, n_bytes))
    return groups


def model_notes(model: ModelFile, groups: Sequence[FallbackGroup]) -> list[str]:
    """Sentences for people."""
    notes = [str(group) for group in groups]
    native = [tensor for tensor in model.tensors if tensor.tensor_type in NATIVE_TYPES]
    if native:
        kinds = " and ".join(sorted({tensor.tensor_type for tensor in native}))
        kept = show_bytes(sum(tensor.n_bytes for tensor in native))
        notes.append(f"{len(native)} tensors are {kinds} as published and are kept as they are: {kept}")
    unseen = sorted(unseen_layers(model))
    if unseen:
        named = f"layer {unseen[0]}" if len(unseen) == 1 else f"layers {unseen[0]} to {unseen[-1]}"
        notes.append(
            f"{named}, for next-token prediction (NextN), is run by no evaluation; a search keeps it at the budget's "
            "bits per weight, and pins decide otherwise"
        )
    return notes
