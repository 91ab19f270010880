"""From a recipe to LAYER_TYPES and FLAGS that are read back to the same tensors.

For each layer: a preset whose types for this layer are the recipe's; else a known layer type; else a VOD name, which
other tools of the kind understand; else a layer type of its own, with its definition in the string. Presets are taken
only where they give this layer the same types with and without an importance matrix, so that the string means the same
to a reader who has none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from optimizer.gguf import ModelFile
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.flags import Flags
from optimizer.recipes.layer_type_sets import LayerTypeDefinition, load_definitions
from optimizer.recipes.layer_types import LayerTypes, MetaRow, Row
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.resolve import TENSORS
from optimizer.recipes.roles import EMBEDDING_TABLES, OUTPUT, TOKEN_EMBEDDING, layers_of, outside_layers
from optimizer.recipes.vod import VodMap

Types = Mapping[str, str]


def layer_types_from_recipe(
    recipe: Recipe,
    model: ModelFile,
    presets: PresetTable,
    *,
    preferred: Sequence[str] = (),
    definitions: Mapping[str, LayerTypeDefinition] | None = None,
) -> LayerTypes:
    """Names the layers of a recipe; `resolve_layer_types` of the result gives the recipe again.

    Args:
        preferred: names to take first where several mean the same for a layer (the search's own options).
        definitions: instead of those of configs/layer_types.yaml.
    """
    known = load_definitions() if definitions is None else definitions
    names = _Names(model, presets, known, preferred)
    rows: list[Row] = []
    for layer, roles in layers_of(presets.quantizable, model.n_layer).items():
        if layer in recipe.pruned_layers:
            continue
        types = {role: recipe.tensor_types[tensor] for role, tensor in roles.items()}
        rows.append((layer, names.name(roles, types)))
    flags, single = _outside(recipe, model, presets)
    return LayerTypes(tuple(rows), (*names.meta_rows(), *single), flags)


class _Names:
    """Finds a name for a layer's types, and remembers the definitions that it had to make up."""

    def __init__(
        self,
        model: ModelFile,
        presets: PresetTable,
        known: Mapping[str, LayerTypeDefinition],
        preferred: Sequence[str],
    ) -> None:
        self.model, self.presets, self.known = model, presets, known
        self.preferred = [name.upper() for name in preferred]
        self.vod = VodMap()
        self.vod_used = False
        self.used: dict[str, LayerTypeDefinition] = {}
        self.own: dict[tuple[str, tuple[tuple[str, str], ...]], LayerTypeDefinition] = {}

    def name(self, roles: Types, types: Types) -> str:
        for name in self._candidates():
            if self._gives(name, roles, types):
                if name in self.known and self.presets.find(name) is None:
                    self.used[name] = self.known[name]
                return name
        vod = self.vod.name_of(types)
        if vod is not None and self.vod.resolve(vod, tuple(types)) == types:
            self.vod_used = True
            return vod
        return self._define(types).name

    def meta_rows(self) -> tuple[MetaRow, ...]:
        definitions = [*self.used.values(), *self.own.values()]
        return (*(self.vod.rows() if self.vod_used else ()), *(definition.row() for definition in definitions))

    def _candidates(self) -> Iterator[str]:
        yield from self.preferred
        yield from self.presets.presets
        yield from self.known

    def _gives(self, name: str, roles: Types, types: Types) -> bool:
        preset = self.presets.find(name)
        if preset is not None:
            return all(
                preset.tensor_types[tensor] == types[role] and tensor not in preset.imatrix_dependent
                for role, tensor in roles.items()
            )
        definition = self.known.get(name)
        if definition is None:
            return False
        base = self.presets.find(definition.preset) if definition.preset else None
        if definition.preset and (base is None or any(tensor in base.imatrix_dependent for tensor in roles.values())):
            return False
        wanted = definition.resolve(roles, self.presets)
        lengths = self.model.by_name
        return all(fallback_type(wanted[role], lengths[roles[role]].row_length) == types[role] for role in roles)

    def _define(self, types: Types) -> LayerTypeDefinition:
        base = Counter(types.values()).most_common(1)[0][0]
        exceptions = tuple(sorted((role, given) for role, given in types.items() if given != base))
        if (base, exceptions) not in self.own:
            taken = {*self.known, *(definition.name for definition in self.own.values())}
            number = 1
            while (name := f"{base}_MIX{number}") in taken or self.presets.find(name):
                number += 1
            self.own[base, exceptions] = LayerTypeDefinition(name, None, base, exceptions)
        return self.own[base, exceptions]


def _outside(recipe: Recipe, model: ModelFile, presets: PresetTable) -> tuple[Flags, tuple[MetaRow, ...]]:
    types = recipe.tensor_types
    embedding, output = types.get(TOKEN_EMBEDDING), types.get(OUTPUT)
    by_flags = {OUTPUT: output, **dict.fromkeys(EMBEDDING_TABLES, embedding)}
    outside = outside_layers(presets.quantizable, model.n_layer)
    rest = [f"{tensor}={types[tensor]}" for tensor in outside if types[tensor] != by_flags.get(tensor)]
    return Flags(embedding, output, prune_layers=recipe.pruned_layers), (((TENSORS, *rest),) if rest else ())
