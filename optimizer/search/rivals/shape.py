"""TPE over the shape of a sensitivity profile: a few parameters in place of one a unit.

Over the relative depth d of a layer the log-sensitivity falls in a straight line from `start` (d = 0) to the trough at
`trough_position`, and rises from there to `end` (d = 1) as t ** `ramp`, t being the share of the way. To it comes an
offset for each class of unit but the largest (the level of all is without effect), and units outside the layers
have their offset alone.

    damage(unit, option) = exp(profile + offset) * sum over its tensors of parameters * 4^-bits
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import TPESampler

from optimizer.search.problem import Observation, SearchProblem
from optimizer.search.rivals.adapters import GeneratorProposer, Search
from optimizer.search.rivals.bit_error import bit_error
from optimizer.search.rivals.optuna_search import LARGEST_OFFSET, search
from optimizer.search.space import Unit
from optimizer.search.units import layer_of, role_of

Floats = npt.NDArray[np.float64]
TPE_SHAPE = "tpe_shape"
LAYER = "layer"
PROFILE: Mapping[str, BaseDistribution] = {
    "start": FloatDistribution(-LARGEST_OFFSET, LARGEST_OFFSET),
    "trough_position": FloatDistribution(0.05, 0.95),
    "trough_depth": FloatDistribution(0.0, LARGEST_OFFSET),
    "ramp": FloatDistribution(0.25, 4.0, log=True),
    "end": FloatDistribution(-LARGEST_OFFSET, LARGEST_OFFSET),
}


def class_of(unit: Unit) -> str:
    """The role that a unit's tensors share, `layer` where they have several, its own name outside the layers."""
    if layer_of(unit.tensors[0]) is None:
        return unit.name
    roles = {role_of(tensor) for tensor in unit.tensors}
    return roles.pop() if len(roles) == 1 else LAYER


def profile(depth: Floats, params: Mapping[str, float]) -> Floats:
    """Log-sensitivity at relative depths in [0, 1]."""
    position, bottom = params["trough_position"], -params["trough_depth"]
    fallen = np.clip(depth / position, 0.0, 1.0)
    risen = np.clip((depth - position) / (1.0 - position), 0.0, 1.0) ** params["ramp"]
    before = params["start"] + (bottom - params["start"]) * fallen
    after = bottom + (params["end"] - bottom) * risen
    return np.where(depth < position, before, after)


@dataclass(frozen=True)
class Layout:
    """Each unit's relative depth (NaN outside the layers) and class; `offsets`: the classes that have an offset."""

    depth: Floats
    classes: tuple[str, ...]
    offsets: tuple[str, ...]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        span = FloatDistribution(-LARGEST_OFFSET, LARGEST_OFFSET)
        return {**PROFILE, **{_offset(name): span for name in self.offsets}}

    def log_sensitivity(self, params: Mapping[str, float]) -> Floats:
        """[units]"""
        outside = np.isnan(self.depth)
        shape = np.where(outside, 0.0, profile(np.where(outside, 0.0, self.depth), params))
        found: Floats = shape + np.array([params.get(_offset(name), 0.0) for name in self.classes])
        return found


def make_layout(units: Sequence[Unit], parameters: Mapping[str, int]) -> Layout:
    layers = [layer_of(unit.tensors[0]) for unit in units]
    last = max((layer for layer in layers if layer is not None), default=0)
    depth = np.array([np.nan if layer is None else layer / max(1, last) for layer in layers])
    classes = tuple(class_of(unit) for unit in units)
    weights: dict[str, int] = {}
    for unit, name in zip(units, classes, strict=True):
        weights[name] = weights.get(name, 0) + sum(parameters[tensor] for tensor in unit.tensors)
    reference = max(weights, key=lambda name: weights[name])
    return Layout(depth, classes, tuple(name for name in weights if name != reference))


def _offset(name: str) -> str:
    return f"offset {name}"


def _start(problem: SearchProblem, baselines: Sequence[Observation]) -> Search:
    layout = make_layout(problem.space.units, problem.parameters)
    table = bit_error(problem.space, problem.parameters)

    def damage_of(params: Mapping[str, float]) -> Floats:
        damage: Floats = np.exp(layout.log_sensitivity(params))[:, None] * table
        return damage

    return search(problem, TPESampler(seed=problem.seed), layout.distributions, damage_of, TPE_SHAPE)


tpe_shape = partial(GeneratorProposer, _start)
