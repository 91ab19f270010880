"""Sensitivities: how much each part of the model suffers, and how much each tensor type costs.

A probe lowers one part to the probe type and leaves the rest at the base; a uniform probe gives one type to
everything. From them, damage is modelled as a product (rank 1):

    damage(tensor, type) = share(tensor) * curve(type)

curve(T) is the KLD of the whole model at T; share is the part's KLD over the curve's step from base to probe type.
Shares of a part are split over its tensors by parameters. With many groups, layers and roles are probed apart and a
group's share is taken as the product of both: n_layer + n_roles probes in place of n_layer * n_roles.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass

from optimizer.errors import EngineError
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.recipes.recipe import Recipe
from optimizer.search.type_curve import FLOAT_TYPES, curve_value
from optimizer.search.units import group_tensors, layer_of, role_of

MAX_GROUP_PROBES = 96
"""Above this many groups, layers and roles are probed apart."""
PROBE_TYPE = "Q3_K"
PROTECTED = 3.0
"""A part whose probe failed counts as this many times the most sensitive one."""

Resolve = Callable[[str, str], str]
"""(tensor, wanted type) -> the type its rows allow."""


@dataclass(frozen=True)
class Probe:
    """kind `part` (a group, a layer or a tensor outside the blocks), `role` (one role in all layers), `uniform`, or
    `option` (a unit at one of its options; tensor_type is then the option's name, which may be a layer type).
    """

    kind: str
    subject: str
    tensor_type: str
    tensors: tuple[str, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        return f"{self.subject} at {self.tensor_type}"


@dataclass(frozen=True)
class ProbeResult:
    """Mean KLD in nats per token; None where the probe failed."""

    probe: Probe
    kld: float | None
    standard_error: float | None


@dataclass(frozen=True)
class Sensitivities:
    """`shares`: tensor -> part of the whole model's damage. `curve`: type -> KLD of the whole model at that type.

    unit_spread: as in `Prior`, where shares were taken from another model.
    """

    shares: Mapping[str, float]
    curve: Mapping[str, float]
    unit_spread: float | None = None

    def damage(self, tensor: str, tensor_type: str) -> float:
        """Expected nats per token from this tensor at this type."""
        return self.shares[tensor] * self.curve_at(tensor_type)

    def curve_at(self, tensor_type: str) -> float:
        """The curve, interpolated over bits per weight (in ln KLD) for a type that was not probed."""
        return 0.0 if tensor_type in FLOAT_TYPES else curve_value(self.curve, tensor_type)


def plan_probes(
    parameters: Mapping[str, int],
    base: Recipe,
    tensor_types: Sequence[str],
    resolve: Resolve,
    probe_type: str = PROBE_TYPE,
    *,
    kinds: str = "auto",
    known: Container[str] = (),
) -> tuple[Probe, ...]:
    """The probes of one model: one uniform probe a type, then parts at the probe type.

    parameters: quantizable tensor -> its number of weights. tensor_types: every type whose cost is wanted.
    kinds: `groups`, `layers_roles`, or `auto`: by the number of groups. known: tensors whose share needs no probe.
    """
    tensors = tuple(parameters)
    unknown = [tensor for tensor in tensors if tensor not in known]
    parts = group_tensors(unknown, "groups")
    roles: dict[str, tuple[str, ...]] = {}
    if kinds == "layers_roles" or (kinds == "auto" and len(parts) > MAX_GROUP_PROBES):
        parts = group_tensors(unknown, "layers")
        roles = roles_of(unknown)

    def lowered(subject: str, kind: str, members: Sequence[str], tensor_type: str) -> Probe:
        changed = {tensor: resolve(tensor, tensor_type) for tensor in members}
        return Probe(kind, subject, tensor_type, tuple(members), Recipe({**base.tensor_types, **changed}))

    wanted = dict.fromkeys([probe_type, *tensor_types])
    return (
        *(lowered("uniform", "uniform", tensors, tensor_type) for tensor_type in wanted),
        *(lowered(name, "part", members, probe_type) for name, members in parts.items()),
        *(lowered(name, "role", members, probe_type) for name, members in roles.items()),
    )


def fit(
    results: Sequence[ProbeResult],
    base_kld: float,
    parameters: Mapping[str, int],
    probe_type: str = PROBE_TYPE,
) -> Sensitivities:
    """Shares and curve from measured probes. base_kld: KLD of the base itself (0 where the base is the source)."""
    curve = {
        result.probe.tensor_type: result.kld
        for result in results
        if result.probe.kind == "uniform" and result.kld is not None and result.kld > 0
    }
    if not curve:
        raise EngineError("no uniform probe could be measured, so no type's cost is known; see the errors above")
    step = max(curve_value(curve, probe_type) - base_kld, 1e-12)
    parts = _shares(results, "part", base_kld, step)
    roles = _shares(results, "role", base_kld, step)
    members = {result.probe.subject: result.probe.tensors for result in results}
    shares: dict[str, float] = {}
    for name, share in parts.items():
        shares.update(_split(share, members[name], parameters, roles))
    return Sensitivities(shares, curve)


def choose_probe_type(tensor_types: Sequence[str]) -> str:
    """The type to probe with: Q3_K where it ranks best, or the smallest allowed type when all are above it."""
    below = [name for name in tensor_types if _bits(name) <= _bits(PROBE_TYPE)]
    return PROBE_TYPE if below else min(tensor_types, key=_bits)


def roles_of(tensors: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Role -> its tensors in all layers."""
    roles: dict[str, list[str]] = {}
    for tensor in tensors:
        if layer_of(tensor) is not None:
            roles.setdefault(role_of(tensor), []).append(tensor)
    return {name: tuple(members) for name, members in roles.items()}


def _shares(results: Sequence[ProbeResult], kind: str, base_kld: float, step: float) -> dict[str, float]:
    """Subject -> share; noise below zero is lifted to a tenth of the median, a failed probe is protected."""
    measured = {
        r.probe.subject: (r.kld - base_kld) / step for r in results if r.probe.kind == kind and r.kld is not None
    }
    failed = [r.probe.subject for r in results if r.probe.kind == kind and r.kld is None]
    positive = sorted(share for share in measured.values() if share > 0)
    floor = 0.1 * positive[len(positive) // 2] if positive else 1e-6
    shares = {name: max(share, floor) for name, share in measured.items()}
    return {**shares, **dict.fromkeys(failed, PROTECTED * max(shares.values(), default=1.0))}


def _split(
    share: float, tensors: Sequence[str], parameters: Mapping[str, int], roles: Mapping[str, float]
) -> dict[str, float]:
    """A part's share over its tensors: by its roles' shares where roles were probed, and by parameters within one."""
    by_role: dict[str, list[str]] = {}
    for tensor in tensors:
        by_role.setdefault(role_of(tensor), []).append(tensor)
    weights = {role: roles.get(role, 1.0) for role in by_role} if roles else dict.fromkeys(by_role, 1.0)
    if not roles and len(by_role) > 1:  # a layer probed whole and no role apart: by parameters
        weights = {role: float(sum(parameters[tensor] for tensor in members)) for role, members in by_role.items()}
    total = sum(weights.values())
    split = {}
    for role, members in by_role.items():
        elements = sum(parameters[tensor] for tensor in members)
        for tensor in members:
            split[tensor] = share * weights[role] / total * parameters[tensor] / elements
    return split


def _bits(name: str) -> float:
    return type_of(name).bits_per_weight
