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
from optimizer.recipes.presets import Preset, PresetTable
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
    return LayerNames(model, presets, known, preferred).layer_types(recipe)


class LayerNames:
    """Names the layers of many recipes of one model; what each known name gives a layer is worked out once."""

    def __init__(
        self,
        model: ModelFile,
        presets: PresetTable,
        known: Mapping[str, LayerTypeDefinition],
        preferred: Sequence[str],
    ) -> None:
        """known, preferred: see `layer_types_from_recipe`."""
        self.model, self.presets, self.known = model, presets, known
        self.preferred = [name.upper() for name in preferred]
        self.layers = layers_of(presets.quantizable, model.n_layer)
        self._by_types: dict[int, dict[tuple[str, ...], str]] = {}

    def layer_types(self, recipe: Recipe) -> LayerTypes:
        names, rows = _OwnNames(self.known, self.presets), list[Row]()
        for layer, roles in self.layers.items():
            if layer in recipe.pruned_layers:
                continue
            types = {role: recipe.tensor_types[tensor] for role, tensor in roles.items()}
            rows.append((layer, names.take(self._known_names(layer, roles).get(tuple(types.values())), types)))
        flags, single = _outside(recipe, self.model, self.presets)
        return LayerTypes(tuple(rows), (*names.meta_rows(), *single), flags)

    def _known_names(self, layer: int, roles: Types) -> Mapping[tuple[str, ...], str]:
        """The types of the roles, in their order -> the first preset or layer type that gives this layer these."""
        if layer not in self._by_types:
            found = self._by_types[layer] = {}
            for name in self._candidates():
                types = self._given(name, roles)
                if types is not None:
                    found.setdefault(types, name)
        return self._by_types[layer]

    def _candidates(self) -> Iterator[str]:
        yield from self.preferred
        yield from self.presets.presets
        yield from self.known

    def _given(self, name: str, roles: Types) -> tuple[str, ...] | None:
        """Types of the roles under this name; None where it means nothing here, or depends on an imatrix."""
        preset = self.presets.find(name)
        if preset is not None:
            if self._depends_on_imatrix(preset, roles):
                return None
            return tuple(preset.tensor_types[tensor] for tensor in roles.values())
        definition = self.known.get(name)
        if definition is None:
            return None
        if definition.preset:
            base = self.presets.find(definition.preset)
            if base is None or self._depends_on_imatrix(base, roles):
                return None
        wanted, by_name = definition.resolve(roles, self.presets), self.model.by_name
        return tuple(fallback_type(wanted[role], by_name[tensor].row_length) for role, tensor in roles.items())

    @staticmethod
    def _depends_on_imatrix(preset: Preset, roles: Types) -> bool:
        return any(tensor in preset.imatrix_dependent for tensor in roles.values())


class _OwnNames:
    """The definitions that one recipe's names need: known layer types, VOD names, and such as it had to make up."""

    def __init__(self, known: Mapping[str, LayerTypeDefinition], presets: PresetTable) -> None:
        self.known, self.presets = known, presets
        self.vod = VodMap()
        self.vod_used = False
        self.used: dict[str, LayerTypeDefinition] = {}
        self.own: dict[tuple[str, tuple[tuple[str, str], ...]], LayerTypeDefinition] = {}

    def take(self, found: str | None, types: Types) -> str:
        """found: what is known to give these types; a name for them where there is none."""
        if found is not None:
            if found in self.known and self.presets.find(found) is None:
                self.used[found] = self.known[found]
            return found
        vod = self.vod.name_of(types)
        if vod is not None and self.vod.resolve(vod, tuple(types)) == types:
            self.vod_used = True
            return vod
        return self._define(types).name

    def meta_rows(self) -> tuple[MetaRow, ...]:
        definitions = [*self.used.values(), *self.own.values()]
        return (*(self.vod.rows() if self.vod_used else ()), *(definition.row() for definition in definitions))

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
