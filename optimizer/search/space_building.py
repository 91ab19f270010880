"""From a model and settings to the search space: its units, and the options that types, pins and bounds leave each."""

from collections.abc import Iterable, Mapping, Sequence

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, ImatrixError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.tensor_types import parse_tensor_type
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.quantization.imatrix import LOW_BIT_TYPES, Imatrix, needs_importance
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.layer_types import LayerTypes
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.resolve import LayerTypeNames
from optimizer.recipes.roles import layers_of
from optimizer.recipes.sizes import SizeTable
from optimizer.search.budget import Budget, check_feasible, show_bytes
from optimizer.search.constraints import Bound, bounded_tensors, broken_bound, pinned_tensors
from optimizer.search.space import SearchSpace, Unit, make_unit
from optimizer.search.units import group_tensors, layer_of, unit_name

K_TENSOR_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
K_LAYER_TYPES = (
    "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q4_K_L",
    "Q5_K_S", "Q5_K_M", "Q5_K_L", "Q6_K", "Q6_K_M", "Q6_K_L", "Q8_0",
)  # fmt: skip
Mixes = Mapping[str, Mapping[str, str]]
"""Option name -> tensor -> type."""


def build_space(
    config: SearchConfig, model: ModelFile, presets: PresetTable, sizes: SizeTable, imatrix: Imatrix | None
) -> SearchSpace:
    """Units with their allowed options; pinned tensors are units of their own with one option."""
    pins = pinned_tensors(config.pins, presets.quantizable)
    bounded = bounded_tensors(config.bounds, presets.quantizable)
    free = [tensor for tensor in presets.quantizable if tensor not in pins]
    if not free:
        raise ConfigError("the pins leave nothing to search: every quantizable tensor is pinned")
    names = config.types or (K_LAYER_TYPES if config.units == "layers" else K_TENSOR_TYPES)
    if len({name.upper() for name in names}) == 1:
        raise ConfigError(f"nothing to choose between: {names[0]} is the only type; name more with --types")

    def resolved(tensors: Sequence[str], wanted: str) -> dict[str, str]:
        return {tensor: fallback_type(wanted, model.by_name[tensor].shape[0]) for tensor in tensors}

    mixes_by_layer = _layer_mixes(names, model, presets) if config.units == "layers" else {}
    tensor_types = (
        tuple({t: None for mixes in mixes_by_layer.values() for mix in mixes.values() for t in mix.values()})
        if config.units == "layers"
        else tuple(dict.fromkeys(parse_tensor_type(name) for name in names))
    )
    _check_imatrix(tensor_types, imatrix)
    units = []
    for name, tensors in group_tensors(free, config.units).items():
        of_layer = mixes_by_layer.get(layer_of(tensors[0]))
        if of_layer is not None:
            mixes = {option: {t: mix[t] for t in tensors} for option, mix in of_layer.items()}
        else:
            mixes = {option: resolved(tensors, option) for option in sorted(tensor_types, key=_bits)}
        units.append(make_unit(name, tensors, _within(name, _coverable(name, mixes, imatrix), bounded), sizes))
    for tensor, tensor_type in pins.items():
        pinned = _coverable(f"pinned {tensor}", {tensor_type: resolved([tensor], tensor_type)}, imatrix)
        _check_pin(tensor, tensor_type, pinned, bounded)
        units.append(make_unit(unit_name(tensor), (tensor,), pinned, sizes))
    _check_choices(units, names, bounded)
    smallest = Recipe({t: types for unit in units for t, types in unit.options[0].tensor_types.items()})
    overhead = sizes.file_size(smallest, plain=False) - sum(unit.options[0].n_bytes for unit in units)
    return SearchSpace(tuple(units), overhead)


def check_budgets(budgets: Iterable[Budget], space: SearchSpace, pins: Mapping[str, str]) -> None:
    """Refuse budgets that no file of this space meets; where pins are in the way, say what they take."""
    for budget in budgets:
        if pins and budget.n_bytes < space.smallest_bytes:
            raise ConfigError(
                f"budget {budget.text} = {budget.n_bytes:,} bytes: {_what_pins_take(space, pins)}, and with everything "
                f"else at its smallest the file is {space.smallest_bytes:,} bytes, "
                f"{space.smallest_bytes - budget.n_bytes:,} too many; pin smaller types, allow smaller ones with "
                "--types, or raise the budget"
            )
        check_feasible(budget, space.smallest_bytes, space.largest_bytes)


def _what_pins_take(space: SearchSpace, pins: Mapping[str, str]) -> str:
    n_bytes = {unit.tensors[0]: unit.options[0].n_bytes for unit in space.units}  # a pinned tensor is its own unit
    tensors = [tensor for unit in space.units for tensor in unit.tensors]
    taken = sum(n_bytes[tensor] for tensor in pinned_tensors(pins, tensors))
    named = []
    for pattern, tensor_type in pins.items():
        matching = pinned_tensors({pattern: tensor_type}, tensors)
        size = show_bytes(sum(n_bytes[tensor] for tensor in matching))
        named.append(f"{len(matching)} by {pattern!r} as {tensor_type}, {size}")
    return f"the pinned tensors alone take {taken:,} ({'; '.join(named)})"


def _layer_mixes(names: Sequence[str], model: ModelFile, presets: PresetTable) -> dict[int | None, Mixes]:
    """Layer -> layer type -> tensor -> type, as each name reads at that layer of this model."""
    known = LayerTypeNames.of(LayerTypes(()), presets)
    return {
        layer: {
            name: {
                roles[role]: fallback_type(wanted, model.by_name[roles[role]].shape[0])
                for role, wanted in known.types(name, layer, roles).items()
            }
            for name in names
        }
        for layer, roles in layers_of(presets.quantizable, model.n_layer).items()
        if roles
    }


def _check_imatrix(tensor_types: Sequence[str], imatrix: Imatrix | None) -> None:
    needing = [name for name in tensor_types if name in LOW_BIT_TYPES]
    if needing and imatrix is None:
        raise ImatrixError(
            f"{', '.join(needing)} {'needs' if len(needing) == 1 else 'need'} an importance matrix; "
            f"give one with --imatrix FILE, or leave {'it' if len(needing) == 1 else 'them'} out of --types"
        )


def _coverable(unit: str, mixes: Mixes, imatrix: Imatrix | None) -> Mixes:
    """The mixes that can be made: very low types only where the imatrix has values. ImatrixError when none is left."""
    made = {
        name: mix
        for name, mix in mixes.items()
        if not any(needs_importance(t, kind) and not (imatrix and imatrix.covered(t)) for t, kind in mix.items())
    }
    if not made:
        where = f"{imatrix.path} has none for it" if imatrix else "none was given"
        raise ImatrixError(
            f"{unit}: {', '.join(mixes)} {'needs' if len(mixes) == 1 else 'need'} an importance matrix, and {where}; "
            "allow it a larger type as well"
        )
    return made


def _within(unit: str, mixes: Mixes, bounded: Mapping[str, Sequence[Bound]]) -> Mixes:
    """The mixes that no bound forbids for any of their tensors. ConfigError when none is left."""
    kept = {name: mix for name, mix in mixes.items() if broken_bound(mix, bounded) is None}
    if not kept:
        broken = [each for mix in mixes.values() if (each := broken_bound(mix, bounded))]
        tensor, bound = broken[0]
        raise ConfigError(
            f"{bound} leaves {unit} no option: {tensor} could be {', '.join(_types_of(tensor, mixes))} only; "
            "widen the bound, or allow more types with --types"
        )
    return kept


def _check_pin(tensor: str, wanted: str, pinned: Mixes, bounded: Mapping[str, Sequence[Bound]]) -> None:
    for mix in pinned.values():
        broken = broken_bound(mix, bounded)
        if broken is not None:
            given = mix[tensor]
            became = f" (its rows do not fit {wanted}, so it gets {given})" if given != wanted else ""
            raise ConfigError(f"{tensor} is pinned to {wanted}{became}, outside {broken[1]}; change one of the two")


def _check_choices(units: Sequence[Unit], names: Sequence[str], bounded: Mapping[str, object]) -> None:
    if all(len(unit.options) == 1 for unit in units):
        within = "within the bounds " if bounded else ""
        raise ConfigError(
            f"nothing to choose between: {', '.join(names)} gives every unit {within}one option; "
            "name more with --types" + (", or widen the bounds" if bounded else "")
        )


def _types_of(tensor: str, mixes: Mixes) -> list[str]:
    return sorted({mix[tensor] for mix in mixes.values()}, key=_bits)


def _bits(tensor_type: str) -> tuple[float, str]:
    return type_of(tensor_type).bits_per_weight, tensor_type
