"""Blocks that no evaluation runs: multi-token-prediction (NextN) blocks, which llama.cpp loads for drafting only.

Whatever type they get, KLD and perplexity stay the same, so a search would make them as small as it can, and the draft
model that they are would pay for it. They are taken out of the choice instead: each of their units keeps the option
nearest to the budget's own bytes per weight. Pins and bounds decide otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from optimizer.gguf.model_file import ModelFile
from optimizer.search.space import Option, SearchSpace, Unit
from optimizer.search.units import layer_of


def unseen_layers(model: ModelFile) -> frozenset[int]:
    """The layers behind the trunk; none in most models."""
    return frozenset(range(model.n_layer - model.n_nextn_layer, model.n_layer))


def settle_unseen(
    space: SearchSpace, model: ModelFile, parameters: Mapping[str, int], budget_bytes: int
) -> SearchSpace:
    """The space with one option left to each unit of an unseen layer.

    parameters: quantizable tensor -> its number of weights. budget_bytes: of the whole file; the smallest of several.
    Where no file meets the budget otherwise, the units take their smallest option, or their largest.
    """
    layers = unseen_layers(model)
    if not layers:
        return space
    bytes_per_weight = max(0, budget_bytes - space.overhead_bytes) / sum(parameters.values())

    def distance(unit: Unit, option: Option) -> float:
        return abs(option.n_bytes - bytes_per_weight * sum(parameters[tensor] for tensor in unit.tensors))

    def settled(preference: Callable[[Unit, Option], float]) -> SearchSpace:
        units = (
            replace(unit, options=(min(unit.options, key=partial(preference, unit)),), seen=False)
            if layer_of(unit.tensors[0]) in layers
            else unit
            for unit in space.units
        )
        return SearchSpace(tuple(units), space.overhead_bytes)

    nearest = settled(distance)
    if budget_bytes < nearest.smallest_bytes:
        return settled(lambda _, option: option.n_bytes)
    if budget_bytes > nearest.largest_bytes:
        return settled(lambda _, option: -option.n_bytes)
    return nearest
