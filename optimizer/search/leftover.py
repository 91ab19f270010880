"""What a winner left of its budget, and whether anybody could use it.

Two things are said. By sizes alone: how many bytes the smallest step up of any unit takes. By the surrogate as it is
after the last trial: the least damage that any recipe of the search's options within the budget is forecast to have,
proven by the exact knapsack. Where the winner's own forecast is that least, no use of the bytes left over is
forecast to lose less.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from optimizer.errors import RecipeError
from optimizer.recipes.recipe import Recipe
from optimizer.search.budget import Budget
from optimizer.search.context import SearchContext
from optimizer.search.decoding import decode_exactly
from optimizer.search.leader import Leader
from optimizer.search.problem import Proposer
from optimizer.search.proposals import LayerquantProposer
from optimizer.search.space import SearchSpace

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEFTOVER = "leftover"
"""Key of a study's progress: bytes of a budget, as text -> `forecast_use` of its leader."""
ROUNDING = 1e-9


def smallest_step(space: SearchSpace, choice: Integers) -> int | None:
    """The fewest bytes by which a unit could take a larger allowed option; None where each has its largest."""
    present = space.sizes[np.arange(len(choice)), choice][:, None]
    grown = (space.sizes - present)[space.allowed & (space.sizes > present)]
    return int(grown.min()) if len(grown) else None


def forecast_use(space: SearchSpace, damage: Floats, budget_bytes: int, choice: Integers) -> dict[str, Any]:
    """damage: [units, options] as the surrogate expects it. choice: the leader's. All forecasts in nats per token.

    `least_forecast` is a bound that no recipe within the budget is forecast below; `proven`: one reaches it.
    """
    best = decode_exactly(space, damage, budget_bytes)
    own = float(damage[np.arange(len(choice)), choice].sum())
    return {
        "size_bytes": space.file_bytes(choice),
        "forecast": own,
        "least_forecast": min(best.lower_bound, own),
        "least_bytes": space.overhead_bytes + best.n_bytes,
        "proven": best.gap <= ROUNDING,
    }


def keep_leftover(context: SearchContext, budget: Budget, proposer: Proposer, leader: Leader) -> None:
    """Keep with the study what the bytes that a budget's leader leaves could still give, by the surrogate as it is."""
    if not isinstance(proposer, LayerquantProposer) or leader.incumbent is None:
        return
    space, reporter = context.plan.space, context.reporter
    with suppress(RecipeError, KeyError):  # layers were left out
        choice = space.choice_of_recipe(Recipe(leader.incumbent.recipe.tensor_types))
        found = forecast_use(space, proposer.expected_damage, budget.n_bytes, choice)
        reporter.keep(LEFTOVER, {**(reporter.kept(LEFTOVER) or {}), str(budget.n_bytes): found})


def leftover_object(
    space: SearchSpace, choice: Integers | None, n_bytes: int, budget_bytes: int, kept: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The object `leftover` of a budget's report.

    choice: the winner's, None where it is none of the space (layers left out). kept: what the study's progress has.
    """
    step = None if choice is None else smallest_step(space, choice)
    forecast = (kept or {}).get(str(budget_bytes))
    if forecast is not None and forecast["size_bytes"] != n_bytes:
        forecast = None  # of a leader that is not the winner: another budget's was better
    gain = None
    if forecast is not None and forecast["forecast"] > 0:
        gain = max(0.0, 1 - forecast["least_forecast"] / forecast["forecast"])
        gain = 0.0 if gain <= ROUNDING else gain
    unused = budget_bytes - n_bytes
    return {
        "bytes": unused,
        "smallest_step_bytes": step,
        "forecast_gain": gain,
        "text": _in_words(unused, step, gain),
    }


def _in_words(unused: int, step: int | None, gain: float | None) -> str:
    said = []
    if unused == 0:
        return "the budget is used to the byte"
    if step is None:
        said.append("every unit has its largest type")
    elif step > unused:
        said.append(f"the smallest step up of any unit takes {step:,} bytes")
    if gain == 0.0:
        said.append("no recipe of these types within the budget is forecast to lose less (proven)")
    elif gain is not None:
        said.append(
            f"no recipe of these types within the budget is forecast to lose more than {gain:.1%} less (proven)"
        )
    return "; ".join(said)
