"""What a wider space would give: the KLD that the probes forecast there, over the one they forecast here.

Three changes are tried: allowing the IQ types that need no importance matrix, deciding by smaller units, and 2 % more
bytes. For each, the knapsack over share x curve is solved in the present and in the widened space; nothing is
evaluated. The ratio of the two forecasts has an error, on a log scale:

    sd(ln ratio) = sqrt(spread^2 + (UNPROBED_ERROR * share of the damage that falls on types without a probe)^2)

spread is that of ln(measured / predicted) over the study's own trials. What no probe saw the forecast cannot know,
and a hint's note says so. The present mix stays possible in every wider space, so no ratio exceeds 1.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, ImatrixError
from optimizer.search.decoding import decode
from optimizer.search.hints import Hint
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.probes import Sensitivities
from optimizer.search.space import SearchSpace
from optimizer.search.space_building import K_LAYER_TYPES, K_TENSOR_TYPES, build_space
from optimizer.search.unseen import settle_unseen

IQ_TYPES = ("IQ3_S", "IQ4_XS", "IQ4_NL")
MORE_BYTES = 1.02
BYTES = "2 % more bytes"
BY_TENSORS = "decide by tensors"
SMALLER_UNITS = {"layers": "groups", "groups": "tensors"}


@dataclass(frozen=True)
class _Forecast:
    """The mix that the probes call the best within a budget."""

    damage: float
    unprobed: float


def find_hints(plan: Plan, sensitivities: Sensitivities) -> list[Hint]:
    """All changes that apply, for every budget. Costs two spaces and a few knapsacks, and evaluates nothing."""
    spaces: dict[str, SearchSpace] = {}
    for change, config in widened_settings(plan).items():
        with suppress(ConfigError, ImatrixError):  # what pins, bounds or the imatrix forbid is nothing to offer
            space = build_space(config, plan.model, plan.presets, plan.sizes, plan.imatrix)
            spaces[change] = settle_unseen(space, plan.model, plan.parameters, plan.budgets[0].n_bytes)
    hints = []
    for budget in plan.budgets:
        present = _forecast(plan.space, sensitivities, budget.n_bytes).damage
        wide = {change: _forecast(space, sensitivities, budget.n_bytes) for change, space in spaces.items()}
        wide[BYTES] = _forecast(plan.space, sensitivities, int(budget.n_bytes * MORE_BYTES))
        hints += [
            Hint(
                budget.text, budget.n_bytes, change, min(1.0, found.damage / present), found.unprobed,
                _note(change, found),
            )
            for change, found in wide.items()
            if present > 0
        ]  # fmt: skip
    return hints


def widened_settings(plan: Plan) -> dict[str, SearchConfig]:
    """Change in words -> settings with it; what is allowed already is left out."""
    config = plan.config
    changes: dict[str, SearchConfig] = {}
    names = config.types or (K_LAYER_TYPES if config.units == "layers" else K_TENSOR_TYPES)
    missing = [name for name in IQ_TYPES if name not in {each.upper() for each in names}]
    if missing:
        changes[f"allow {', '.join(missing)}"] = config.model_copy(update={"types": (*names, *missing)})
    smaller = SMALLER_UNITS.get(config.units)
    if smaller is not None:
        changes[f"decide by {smaller}"] = config.model_copy(update={"units": smaller, "types": plan.tensor_types})
    return changes


def _note(change: str, found: _Forecast) -> str:
    if change == BY_TENSORS:
        return "inside a group, damage is split by parameters: no probe tells its tensors apart"
    if found.unprobed > 0:
        return "types without a probe are rated by their bits alone"
    return ""


def _forecast(space: SearchSpace, sensitivities: Sensitivities, budget_bytes: int) -> _Forecast:
    damage = make_prior(space, sensitivities).damage
    choice = decode(space, damage, budget_bytes)
    total = float(damage[np.arange(len(choice)), choice].sum())
    types = space.recipe(choice).tensor_types
    unprobed = sum(sensitivities.damage(t, kind) for t, kind in types.items() if kind not in sensitivities.curve)
    return _Forecast(total, unprobed / total if total > 0 else 0.0)
