"""Shares of another model's parts, for a relative of it: what a table of sensitivities gives in place of probes.

Rankings of parts agree between finetunes of one base, and between types (Spearman 0.94 to 0.98 in public tables), so
shares carry over; what each type costs does not, and is measured.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from optimizer.errors import ConfigError
from optimizer.gguf.tensor_types import TENSOR_TYPES
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.recipes.recipe import Recipe
from optimizer.search.probes import PROBE_TYPE, Probe, ProbeResult, Sensitivities, fit, roles_of
from optimizer.search.sensitivity_table import LAYERQUANT, SensitivityTable, check_same_model
from optimizer.search.units import group_tensors

UNIT_SPREAD = 1.5
"""Chosen, not measured: errors of taken shares against those of measured ones."""
LEAST_REST = 0.1
"""Share of the damage that taken parts keep at least, whatever the measured ones amount to."""


@dataclass(frozen=True)
class GivenShares:
    """shares: tensor -> share, of whole tensor groups only. tensor_type: the row they were taken from.

    is_absolute: relative to the file's own uniform probe; else they sum to 1 over what the file has.
    """

    shares: Mapping[str, float]
    tensor_type: str
    is_absolute: bool

    def completed(self, measured: Sensitivities) -> Sensitivities:
        """With this model's curve, and the shares of the parts that the file has not, measured on this model."""
        scale = 1.0 if self.is_absolute else max(1.0 - sum(measured.shares.values()), LEAST_REST)
        taken = {tensor: scale * share for tensor, share in self.shares.items()}
        return Sensitivities({**taken, **measured.shares}, measured.curve, UNIT_SPREAD)


def shares_of(table: SensitivityTable, parameters: Mapping[str, int], tensors: Collection[str]) -> GivenShares:
    """The shares that a table gives this model, from the type with most parts, the nearest to Q3_K among equals.

    parameters: quantizable tensor -> weights. tensors: all names of the model. Raises ConfigError for a table without
    parts, of another model, or of perplexities.
    """
    groups = group_tensors(parameters, "groups")
    if not table.klds:
        raise ConfigError(f"{table.path} has no part's sensitivity, only whole models' or none at all")
    found = {tensor_type: _shares_at(table, tensor_type, parameters) for tensor_type in table.klds}
    best = max(found, key=lambda name: (len(found[name]), -abs(_bits(name) - _bits(PROBE_TYPE)), name))
    shares = found[best]
    covered = [name for name, members in groups.items() if all(tensor in shares for tensor in members)]
    known = {*tensors} if table.form != LAYERQUANT else own_subjects(parameters)
    check_same_model(table, known, len(covered), len(groups))
    if not table.relative and min(table.klds[best].values()) > 1.0:
        raise ConfigError(f"{table.path}: every value at {best} is above 1; are these perplexities in place of KLD?")
    whole = {tensor: shares[tensor] for name in covered for tensor in groups[name]}
    if best in table.curve:
        return GivenShares(whole, best, True)
    total = sum(whole.values())
    return GivenShares({tensor: share / total for tensor, share in whole.items()}, best, False)


def _shares_at(table: SensitivityTable, tensor_type: str, parameters: Mapping[str, int]) -> dict[str, float]:
    """Tensor -> share, fitted as from probes; the whole is the table's uniform probe, else the sum of its parts."""
    results: list[ProbeResult] = []

    def add(kind: str, parts: Mapping[str, tuple[str, ...]]) -> None:
        for name, kld in table.by_part(tensor_type, parts).items():
            results.append(ProbeResult(Probe(kind, name, tensor_type, parts[name], Recipe({})), kld, None))

    groups = group_tensors(parameters, "groups")
    add("part", groups)
    if table.form == LAYERQUANT:
        layers = {name: members for name, members in group_tensors(parameters, "layers").items() if name not in groups}
        add("part", layers)
        add("role", roles_of(tuple(parameters)))
    parts = [each for each in results if each.probe.kind == "part" and each.kld is not None]
    whole = table.curve.get(tensor_type) or sum(max(each.kld or 0.0, 0.0) for each in parts)
    if not parts or whole <= 0:
        return {}
    uniform = Probe("uniform", "uniform", tensor_type, (), Recipe({}))
    base_kld = table.curve.get(table.base_type, 0.0)
    return dict(fit([ProbeResult(uniform, whole, None), *results], base_kld, parameters, tensor_type).shares)


def _bits(tensor_type: str) -> float:
    """Bits per weight; of a type that llama.cpp has not, by the number in its name (`iq4_ks`)."""
    if tensor_type in TENSOR_TYPES:
        return type_of(tensor_type).bits_per_weight
    number = re.search(r"q(\d)", tensor_type.lower())
    return float(number[1]) if number else 0.0


def own_subjects(parameters: Mapping[str, int]) -> set[str]:
    """Every name that a row of our own table may have for this model, but for `uniform`."""
    return {*group_tensors(parameters, "groups"), *group_tensors(parameters, "layers"), *roles_of(tuple(parameters))}
