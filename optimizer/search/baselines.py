"""What a search must beat: stock presets, presets with Q8_0 embeddings and output, the uniform fill, stretched hybrids.

They are enqueued as the study's first trials, nearest to the budget first, and the best of them is the first incumbent.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.quantization.imatrix import Imatrix, needs_importance
from optimizer.recipes.presets import PresetTable
from optimizer.recipes.recipe import Recipe
from optimizer.search.decoding import decode
from optimizer.search.space import SearchSpace

PRESET, UNIFORM, HYBRID = "preset", "uniform", "hybrid"
NOT_COMPARED = frozenset({"F16", "BF16", "F32", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0", "MXFP4_MOE", "NVFP4"})
"""Presets that are no rivals: float files, and formats for models trained in them."""


@dataclass(frozen=True)
class Baseline:
    """`n_bytes`: of the file as it would be published; stock presets carry no metadata block of ours."""

    name: str
    kind: str
    recipe: Recipe
    n_bytes: int

    @property
    def origin(self) -> str:
        return f"{self.kind}:{self.name}"


def is_ladder_preset(name: str) -> bool:
    """The K- and IQ-presets that the report interpolates between."""
    return name.startswith("IQ") or "_K" in name


def can_be_made(recipe: Recipe, imatrix: Imatrix | None) -> bool:
    """Whether the imatrix covers every tensor that gets a type which needs it; llama-quantize refuses the others."""
    return all(
        (imatrix is not None and imatrix.covered(tensor)) or not needs_importance(tensor, tensor_type)
        for tensor, tensor_type in recipe.tensor_types.items()
    )


def rival_presets(presets: PresetTable, imatrix: Imatrix | None) -> dict[str, Recipe]:
    """Stock presets that could be published for this model, without those that need what no imatrix covers."""
    found = {name: Recipe(preset.tensor_types) for name, preset in presets.presets.items() if name not in NOT_COMPARED}
    return {
        name: recipe
        for name, recipe in found.items()
        if (imatrix is not None or not presets.presets[name].needs_imatrix) and can_be_made(recipe, imatrix)
    }


def uniform_fill(space: SearchSpace, parameters: Mapping[str, int], budget_bytes: int) -> Recipe:
    """Bytes spread as if every weight were equally sensitive."""
    return space.recipe(decode(space, uniform_damage(space, parameters), budget_bytes))


def uniform_damage(space: SearchSpace, parameters: Mapping[str, int]) -> npt.NDArray[np.float64]:
    """[units, options] in no unit: every weight equally sensitive, and error falls fourfold with each bit."""
    damage = np.zeros(space.shape)
    for row, unit in enumerate(space.units):
        for column, option in enumerate(unit.options):
            damage[row, column] = sum(
                parameters[tensor] * 4.0 ** -type_of(tensor_type).bits_per_weight
                for tensor, tensor_type in option.tensor_types.items()
            )
    return damage


def nearest_first(baselines: list[Baseline], budget_bytes: int) -> tuple[Baseline, ...]:
    """Those that fit, largest first; the ones just below the budget are the ones to beat."""
    fitting = [baseline for baseline in baselines if baseline.n_bytes <= budget_bytes]
    return tuple(sorted(fitting, key=lambda baseline: (-baseline.n_bytes, baseline.name)))
