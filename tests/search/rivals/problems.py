"""Small random problems, and trials of a made-up model: damage is a sum over units, plus what the bits foretell."""

import numpy as np

from optimizer.gguf.tensor_types import row_bytes
from optimizer.search.prior import Prior
from optimizer.search.problem import Observation, SearchProblem
from optimizer.search.space import Option, SearchSpace, Unit

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q6_K", "Q8_0")
ROLES = ("attn_v", "ffn_down")


def make_problem(seed: int, *, n_layer: int = 3) -> SearchProblem:
    """Units of several sizes; some options are not allowed, and a unit may have few."""
    rng = np.random.default_rng(seed)
    names = ["token_embd", *(f"blk.{layer}.{role}" for layer in range(n_layer) for role in ROLES)]
    units, parameters = [], {}
    for name in names:
        tensor, rows = f"{name}.weight", int(rng.integers(1, 40))
        parameters[tensor] = rows * 256
        kept = sorted(rng.permutation(len(TYPES))[: rng.integers(2, len(TYPES) + 1)])
        allowed = rng.random(len(kept)) < 0.8
        allowed[int(rng.integers(len(kept)))] = True
        options = tuple(
            Option(TYPES[kind], {tensor: TYPES[kind]}, rows * row_bytes(TYPES[kind], 256), bool(usable))
            for kind, usable in zip(kept, allowed, strict=True)
        )
        units.append(Unit(name, (tensor,), options))
    space = SearchSpace(tuple(units), 1000)
    low, high = space.smallest_bytes, space.largest_bytes
    damage = np.full(space.shape, np.inf)
    errors = {}
    for row, unit in enumerate(units):
        sensitivity = rng.lognormal(0, 1)
        for column, option in enumerate(unit.options):
            damage[row, column] = sensitivity * parameters[unit.tensors[0]] * 4.0 ** -(2 + column)
            errors[unit.tensors[0], option.name] = float(rng.exponential())
    prior = Prior(damage, np.zeros(space.shape, dtype=np.int64))
    return SearchProblem(space, low + int(rng.random() * (high - low)), parameters, seed, prior, errors)


def trial_of(problem: SearchProblem, choice: np.ndarray, share: float = 1.0) -> Observation:
    """What measuring a choice would show; every eleventh kind of recipe fails."""
    assert problem.prior is not None
    key = int(np.dot(choice, np.arange(1, len(choice) + 1)))
    rows = np.arange(len(choice))
    damage = float(problem.prior.damage[rows, choice].sum()) * (1 + 0.01 * np.sin(key))
    return Observation(choice, np.inf if key % 11 == 3 else damage, 0.0, share)
