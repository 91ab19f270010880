"""A Lagrangian on weight errors, without any forward pass: the way of llama.cpp's pull request 15550, `--target-bpw`.

An option costs the sum over its tensors of their relative squared errors (optimizer/quantization/weight_error.py),
times what the pull request adds by hand: attention tensors count more at few bits, and ffn_down, output, attn_v and
tied embeddings have a boost. Its condition numbers, its clipping of outliers below 3 bits and its caps on ffn_down are
left out; so are its statistics of activations, which need an imatrix in a form of its own.
"""

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np
import numpy.typing as npt

from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.search.decoding import decode
from optimizer.search.problem import Proposal, SearchProblem
from optimizer.search.rivals.adapters import OneShotProposer
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
WEIGHT_ERROR = "weight_error"
FFN_DOWN_BOOST, OUTPUT_BOOST, TIED_EMBEDDING_BOOST, ATTN_V_BOOST = 6.0, 3.0, 2.5, 1.25
FEW_BITS = 2.2
"""Mean bits a weight below which boosts would starve the other tensors."""
INNER_PRODUCT_PARTS = ("attn_q", "attn_k", "attn_o", "attn_v")


def needed_errors(space: SearchSpace) -> frozenset[tuple[str, str]]:
    """(tensor, type) of every allowed option: what `SearchProblem.errors` must hold."""
    options = (option for unit in space.units for option in unit.options if option.allowed)
    return frozenset(pair for option in options for pair in option.tensor_types.items())


def weight_error_costs(
    space: SearchSpace, errors: Mapping[tuple[str, str], float], boosts: Mapping[str, float] | None = None
) -> Floats:
    """[units, options]: summed errors of an option's tensors; inf where there is no option, or none that is allowed.

    errors: (tensor, type) -> error of the whole tensor. boosts: tensor -> factor, 1 where it has none.
    Raises ValueError where an allowed option's error is missing.
    """
    missing = needed_errors(space) - errors.keys()
    if missing:
        raise ValueError(f"{len(missing)} weight errors are missing, for example of {' at '.join(min(missing))}")
    factors = boosts or {}
    costs = np.full(space.shape, np.inf)
    for (row, unit), column in product(enumerate(space.units), range(space.shape[1])):
        if space.allowed[row, column]:
            costs[row, column] = sum(
                errors[tensor, tensor_type] * _low_bit_factor(tensor, tensor_type) * factors.get(tensor, 1.0)
                for tensor, tensor_type in unit.options[column].tensor_types.items()
            )
    return costs


def boosts(parameters: Mapping[str, int], mean_bits: float) -> dict[str, float]:
    """The pull request's factors by tensor. parameters: tensor -> weights. mean_bits: the budget's, per weight."""
    total = sum(parameters.values())
    found: dict[str, float] = {}
    for tensor, weights in parameters.items():
        if tensor.endswith("ffn_down.weight") and mean_bits >= FEW_BITS:
            found[tensor] = FFN_DOWN_BOOST
        elif tensor == "output.weight":
            found[tensor] = OUTPUT_BOOST
        elif "attn_v" in tensor:
            found[tensor] = ATTN_V_BOOST
        elif tensor == "token_embd.weight" and "output.weight" not in parameters and mean_bits >= FEW_BITS:
            above = max(0.0, weights / total - 0.1)
            found[tensor] = max(1.25, TIED_EMBEDDING_BOOST * (1.0 - 3.0 * above))
    return found


def _low_bit_factor(tensor: str, tensor_type: str) -> float:
    """Errors of what enters inner products weigh more the fewer the bits."""
    if not any(part in tensor for part in INNER_PRODUCT_PARTS):
        return 1.0
    return float(1.0 + 0.5 * 2.0 ** (3.0 - type_of(tensor_type).bits_per_weight))


def _answer(problem: SearchProblem) -> Proposal:
    if problem.errors is None:
        raise ValueError("this sampler needs the weight errors of every option")
    space = problem.space
    mean_bits = 8.0 * (problem.budget_bytes - space.overhead_bytes) / sum(problem.parameters.values())
    costs = weight_error_costs(space, problem.errors, boosts(problem.parameters, mean_bits))
    return Proposal(decode(space, costs, problem.budget_bytes), WEIGHT_ERROR)


weight_error = partial(OneShotProposer, _answer)
