"""The error that bits alone foretell: one more bit a weight, a quarter of the squared error."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]


def bit_error(space: SearchSpace, parameters: Mapping[str, int]) -> Floats:
    """[units, options]: sum over an option's tensors of parameters * 4^-bits; inf where there is no option.

    parameters: tensor -> its number of weights.
    """
    damage = np.full(space.shape, np.inf)
    for row, unit in enumerate(space.units):
        for column, option in enumerate(unit.options):
            damage[row, column] = sum(
                parameters[tensor] * 4.0 ** -type_of(tensor_type).bits_per_weight
                for tensor, tensor_type in option.tensor_types.items()
            )
    return damage
