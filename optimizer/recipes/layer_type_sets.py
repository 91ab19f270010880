"""Layer types beyond llama.cpp's presets: the named mixes of configs/layer_types.yaml, the user's, and a string's own.

A definition starts from a preset (what it gives to this layer of this model) or from one tensor type for all, and then
names exceptions by role. In a LAYER_TYPES string it is a meta row: ["DEF","NAME","preset=Q4_K_M","attn_output=Q6_K"].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile, parse_tensor_type
from optimizer.recipes.presets import ALIASES, PresetTable
from optimizer.recipes.recipe import ResolvedRecipe, complete_recipe
from optimizer.recipes.roles import EMBEDDING_TABLES, OUTPUT, match_role

DEFINITION = "DEF"
CONFIG_PATH = Path(__file__).resolve().parents[2] / "configs" / "layer_types.yaml"

FILE_PRESETS: Mapping[str, str] = {
    "Q2_K_L": "Q2_K",
    "Q3_K_XL": "Q3_K_L",
    "Q4_K_L": "Q4_K_M",
    "Q5_K_L": "Q5_K_M",
    "Q6_K_L": "Q6_K",
}
"""Bartowski's names of whole files: the preset, with embeddings and output as Q8_0. Not to be taken for rows."""


@dataclass(frozen=True, slots=True)
class LayerTypeDefinition:
    name: str
    preset: str | None
    """Where the types come from that `exceptions` does not name; or None, and `all_types` is set."""
    all_types: str | None
    exceptions: tuple[tuple[str, str], ...] = ()
    """(role or pattern, tensor type); a role itself goes before patterns, then the first that fits."""

    def resolve(self, roles: Mapping[str, str], presets: PresetTable) -> dict[str, str]:
        """Role -> type wanted, before fallbacks, for a layer given as role -> tensor name."""
        keys = dict(self.exceptions)
        base = presets[self.preset].tensor_types if self.preset else {}
        return {role: match_role(role, keys) or self.all_types or base[name] for role, name in roles.items()}

    def row(self) -> tuple[str, ...]:
        """The meta row that defines it."""
        start = f"preset={self.preset}" if self.preset else f"all={self.all_types}"
        return (DEFINITION, self.name, start, *(f"{role}={given}" for role, given in self.exceptions))

    def __str__(self) -> str:
        return " ".join(self.row()[2:])


def read_definition(row: Sequence[str]) -> LayerTypeDefinition:
    """A definition from its meta row. Raises RecipeError where it is incomplete."""
    pairs = []
    for word in row[2:]:
        key, equals, value = word.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise RecipeError(f"{word!r} in the definition of {row[1]} is no ROLE=TYPE, preset=PRESET or all=TYPE.")
        pairs.append((key.strip(), value.strip()))
    return _define(row[1], pairs)


def read_definitions(text: str, origin: str) -> dict[str, LayerTypeDefinition]:
    """Definitions from YAML of the form of configs/layer_types.yaml, by upper-case name."""
    try:
        document: Any = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{origin}: no YAML: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(value, dict) for value in document.values()):
        raise RecipeError(f"{origin}: write each layer type as NAME: {{preset: Q4_K_M, attn_output: Q6_K}}.")
    definitions = (
        _define(str(name), [(str(key), str(value)) for key, value in body.items()]) for name, body in document.items()
    )
    return {definition.name: definition for definition in definitions}


@lru_cache(maxsize=16)
def load_definitions(*files: Path) -> Mapping[str, LayerTypeDefinition]:
    """The definitions of configs/layer_types.yaml, then of these files; a later one replaces an earlier of its name."""
    definitions: dict[str, LayerTypeDefinition] = {}
    for path in (CONFIG_PATH, *files):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: the layer types cannot be read: {error}.") from error
        definitions |= read_definitions(text, str(path))
    return definitions


def file_presets(model: ModelFile, presets: PresetTable) -> dict[str, ResolvedRecipe]:
    """Bartowski's file variants of this model, by their names; those whose preset it cannot have are left out."""
    variants = {}
    for name, base in FILE_PRESETS.items():
        preset = presets.find(base)
        if preset is not None:
            large = {tensor: "Q8_0" for tensor in (*EMBEDDING_TABLES, OUTPUT) if tensor in preset.tensor_types}
            variants[name] = complete_recipe({**preset.tensor_types, **large}, model, presets.quantizable)
    return variants


def _define(name: str, pairs: Sequence[tuple[str, str]]) -> LayerTypeDefinition:
    upper = name.strip().upper()
    starts = [(key, value) for key, value in pairs if key in ("preset", "all")]
    if not upper or len(starts) != 1:
        raise RecipeError(f"the layer type {name!r} needs one start, preset=PRESET or all=TYPE, then ROLE=TYPE.")
    ((start, value),) = starts
    exceptions = tuple((key, parse_tensor_type(given)) for key, given in pairs if key not in ("preset", "all"))
    if len({key for key, _ in exceptions}) != len(exceptions):
        raise RecipeError(f"the layer type {name} names a role twice.")
    if start == "all":
        return LayerTypeDefinition(upper, None, parse_tensor_type(value), exceptions)
    preset = value.upper()
    return LayerTypeDefinition(upper, ALIASES.get(preset, preset), None, exceptions)
