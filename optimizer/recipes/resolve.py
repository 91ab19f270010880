"""From LAYER_TYPES and FLAGS to a recipe: every tensor's type, for one model.

A preset named at layer i means what that preset gives to layer i of this model (published file sizes agree with nothing
else). Names are looked up in this order: definitions in the string itself, llama.cpp's presets, definitions of
configs/layer_types.yaml and of the user's files, VOD names.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile
from optimizer.gguf.pruning import check_pruned_layers
from optimizer.recipes.flags import LAYER_TYPES_HIGH_NOTE, Flags
from optimizer.recipes.layer_type_sets import (
    DEFINITION,
    FILE_PRESETS,
    LayerTypeDefinition,
    load_definitions,
    read_definition,
)
from optimizer.recipes.layer_types import LayerTypes
from optimizer.recipes.presets import ALIASES, PresetTable
from optimizer.recipes.recipe import PRUNED, Recipe, ResolvedRecipe, complete_recipe
from optimizer.recipes.roles import EMBEDDING_TABLES, OUTPUT, TOKEN_EMBEDDING, layers_of, outside_layers
from optimizer.recipes.vod import DISPUTED_DIGITS, VodMap, read_map

TENSORS = "TENSORS"
"""Head of the meta row that types single tensors by full name: ["TENSORS","per_layer_token_embd.weight=Q6_K"]."""


@dataclass(frozen=True)
class LayerTypeNames:
    """Everything a row may name, for one model."""

    presets: PresetTable
    definitions: Mapping[str, LayerTypeDefinition]
    """By upper-case name; the string's own replace configured ones."""
    vod: VodMap

    @classmethod
    def of(
        cls,
        layer_types: LayerTypes,
        presets: PresetTable,
        definitions: Mapping[str, LayerTypeDefinition] | None = None,
    ) -> "LayerTypeNames":
        known = dict(load_definitions() if definitions is None else definitions)
        for row in layer_types.meta_rows:
            if row[0].upper() == DEFINITION:
                own = read_definition(row)
                if presets.find(own.name):
                    raise RecipeError(f"{own.name} is a preset of llama.cpp and cannot be defined anew. Rename it.")
                known[own.name] = own
        return cls(presets, known, read_map(layer_types.meta_rows))

    def types(self, name: str, layer: int, roles: Mapping[str, str]) -> dict[str, str]:
        """Role -> tensor type that this layer type wants for a layer given as role -> tensor name, before fallbacks."""
        preset = self.presets.find(name)
        if preset is not None:
            return {role: preset.tensor_types[tensor] for role, tensor in roles.items()}
        definition = self.definitions.get(name.strip().upper())
        if definition is not None:
            return definition.resolve(roles, self.presets)
        given = self.vod.resolve(name, tuple(roles))
        if given is None:
            raise RecipeError(f"layer {layer}: {name!r} is no layer type.{self._hint(name)}")
        return given

    def base_preset(self, name: str) -> str:
        """The preset whose embeddings and output go with this layer type."""
        definition = self.definitions.get(name.strip().upper())
        start = (definition.preset or definition.all_types or "") if definition else name.strip().upper()
        if self.presets.find(start) is None:
            start = start.rpartition("_")[0]  # the base of a VOD name
        preset = self.presets.find(start)
        return preset.name if preset else "Q6_K"

    def _hint(self, name: str) -> str:
        upper = name.strip().upper()
        if upper in FILE_PRESETS:
            return (
                f" {upper} is a file's name ({FILE_PRESETS[upper]} with Q8_0 embeddings and output). As rows, write "
                f"{FILE_PRESETS[upper]} and give --token-embedding-type Q8_0 --output-tensor-type Q8_0."
            )
        known = [*self.presets.presets, *ALIASES, *self.definitions]
        near = get_close_matches(upper, known, n=3, cutoff=0.5)
        if near:
            return f" Did you mean {', '.join(near)}?"
        return f" Known: {', '.join(known)}, and VOD names such as Q5_K_658."


def resolve_layer_types(
    layer_types: LayerTypes,
    model: ModelFile,
    presets: PresetTable,
    *,
    flags: Flags | None = None,
    definitions: Mapping[str, LayerTypeDefinition] | None = None,
) -> ResolvedRecipe:
    """The recipe that a LAYER_TYPES string means for this model, its fallbacks and what was assumed.

    Args:
        flags: take precedence over the string's own FLAGS.
        definitions: instead of those of configs/layer_types.yaml.

    Where neither says what type embeddings and output have, they get what the preset behind the most frequent layer
    type gives them (of equally frequent ones, the first in the model), and a note says so.

    Layers that the flags prune need no row, and a row of theirs changes nothing. A preset named at layer i means what
    that preset gives to layer i of the whole model.

    Raises RecipeError for a missing layer, one beyond the model, one that cannot be pruned, and a name or a type that
    does not exist.
    """
    merged = (layer_types.flags or Flags()).merged(flags or Flags())
    pruned = check_pruned_layers(model, merged.prune_layers)
    _check_layers(layer_types, model, pruned)
    names = LayerTypeNames.of(layer_types, presets, definitions)
    by_layer = {layer: name for layer, name in layer_types.rows if layer not in pruned}
    wanted: dict[str, str] = {}
    for layer, roles in layers_of(presets.quantizable, model.n_layer).items():
        given = names.types(by_layer[layer], layer, roles) if layer not in pruned else dict.fromkeys(roles, PRUNED)
        wanted |= {tensor: given[role] for role, tensor in roles.items()}
    outside = outside_layers(presets.quantizable, model.n_layer)
    base = names.base_preset(_most_frequent(by_layer))
    from_flags, notes = _outside_types(outside, merged, model, presets, base)
    wanted |= from_flags | _single_tensors(layer_types.meta_rows, presets.quantizable)
    notes += _vod_notes(layer_types, names)
    return complete_recipe(wanted, model, presets.quantizable, notes)


def recipe_from_layer_types(
    layer_types: LayerTypes, flags: Flags | None, model: ModelFile, presets: PresetTable
) -> Recipe:
    """`resolve_layer_types` for those who need nothing but the recipe."""
    return resolve_layer_types(layer_types, model, presets, flags=flags).recipe


def _check_layers(layer_types: LayerTypes, model: ModelFile, pruned: Sequence[int]) -> None:
    given = layer_types.names()
    if not given:
        raise RecipeError(f"LAYER_TYPES names no layer; {model.paths[0].name} has layers 0 to {model.n_layer - 1}.")
    beyond = sorted(layer for layer in given if layer >= model.n_layer)
    if beyond:
        raise RecipeError(
            f"layer {beyond[0]} in LAYER_TYPES is beyond the model: {model.paths[0].name} has layers 0 to "
            f"{model.n_layer - 1}. Was the string made for another model?"
        )
    missing = [layer for layer in range(model.n_layer) if layer not in given and layer not in pruned]
    if missing:
        shown = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        word = "layer" if len(missing) == 1 else "layers"
        raise RecipeError(
            f"LAYER_TYPES lacks {word} {shown} of {model.paths[0].name} ({model.n_layer} layers). Add a row for each."
        )


def _most_frequent(by_layer: Mapping[int, str]) -> str:
    counts = Counter(by_layer[layer].strip().upper() for layer in sorted(by_layer))
    return max(counts, key=lambda name: counts[name])  # the first of equals: Counter keeps the order of layers


def _outside_types(
    outside: Sequence[str], flags: Flags, model: ModelFile, presets: PresetTable, base: str
) -> tuple[dict[str, str], list[str]]:
    base_types = presets[base].tensor_types
    types: dict[str, str] = {}
    assumed: list[str] = []
    for tensor in outside:
        embedding = flags.token_embedding_type if tensor in EMBEDDING_TABLES else None
        is_output = tensor == OUTPUT or (tensor == TOKEN_EMBEDDING and model.tied_embeddings)
        given = embedding or (flags.output_tensor_type if is_output else None)
        types[tensor] = given or base_types[tensor]
        if given is None:
            assumed.append(f"{tensor} {types[tensor]}")
    notes = [f"No type was given for {', '.join(assumed)}: taken from {base}."] if assumed else []
    if flags.output_tensor_type and OUTPUT not in outside and flags.token_embedding_type:
        notes.append("The embeddings are tied to the output: --token-embedding-type holds for both.")
    if flags.layer_types_high:
        notes.append(LAYER_TYPES_HIGH_NOTE)
    return types, notes


def _single_tensors(meta_rows: Iterable[Sequence[str]], quantizable: Sequence[str]) -> dict[str, str]:
    types: dict[str, str] = {}
    for row in meta_rows:
        if row[0].upper() != TENSORS:
            continue
        for word in row[1:]:
            name, equals, given = word.rpartition("=")
            if not equals or name not in quantizable:
                raise RecipeError(
                    f"{word!r} in the row {TENSORS} of LAYER_TYPES must be TENSOR=TYPE, with a quantizable tensor of "
                    "this model."
                )
            types[name] = given
    return types


def _vod_notes(layer_types: LayerTypes, names: LayerTypeNames) -> list[str]:
    if any(row[0].upper() == "MAP" for row in layer_types.meta_rows):
        return []
    width = len(names.vod.order)
    disputed = sorted(
        {
            name
            for _, name in layer_types.rows
            if names.presets.find(name) is None
            and name.upper() not in names.definitions
            and set(name[-width:]) & set(DISPUTED_DIGITS)
        }
    )
    if not disputed:
        return []
    return [
        f"{', '.join(disputed)}: without a MAP row 0 is read as the name's own base and f as F32; an older card reads "
        "0 as F32 and f as F16. Add a MAP row to be sure."
    ]
