"""Second probes: the options that the knapsack would take are measured themselves, before the first trial.

They come where the first probes did not measure the units of the search: by layers, by tensors, and in models of so
many groups that layers and roles are probed apart. Each is one unit at one of its options while everything else stays
at the probes' base. They go in rounds, since what they tell changes what the knapsack takes, and end when it takes
nothing new, or when they have cost as much as the probes of parts did. What they tell of the options beside them:
`looks`. Where the base is no source but a type, only options that cost more than it are measured: what is saved by a
better one is lost in the noise of all the rest.
"""

from collections.abc import Callable
from math import log

import numpy as np
import numpy.typing as npt

from optimizer.recipes.recipe import Recipe
from optimizer.search.bench import probe_chunks
from optimizer.search.context import SearchContext
from optimizer.search.crew import in_parallel
from optimizer.search.looks import NOISE, Look, Looks, Place, log_ratio, ratio_noise
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.prior import Prior
from optimizer.search.probes import PROTECTED, Probe, Sensitivities
from optimizer.search.probing import ProbeBase, Probing, draw_probes, measure_base, measure_probe, plan_probing
from optimizer.search.space import SearchSpace

ROUNDS = 3
CHUNKS = 2
"""Chunks of a second probe, as many times those of a first."""
SECOND_PROBES = "second_probes"
"""Key of a study's progress: how many there may be (`most`), and the settings that say so (`asked`)."""
OPTION = "option"
"""Kind of these probes."""


def look_again(context: SearchContext, measurer: Measurer, prior: Prior, sensitivities: Sensitivities) -> Prior:
    """The prior, corrected by probes of what it would take at the study's budgets; a failed probe is protected.

    Raises EvaluationError where the base cannot be measured.
    """
    plan, reporter = context.plan, context.reporter
    probing, budgets = plan_probing(plan), [budget.n_bytes for budget in plan.budgets]
    count = CHUNKS * probe_chunks(plan.config, measurer.text.n_chunks)
    left = _most(context, probing, count * measurer.text.tokens_per_chunk)
    if not left:
        return prior
    draw = draw_probes(probing, measurer, count, reporter)
    base, at_base = probing.base, measure_base(probing.base, measurer, draw)
    of_base = _damage_at_base(plan.space, base, sensitivities)
    pointless = [(int(unit), int(option)) for unit, option in np.argwhere(prior.damage <= of_base[:, None])]
    looks = Looks(plan.space, prior, plan.parameters, done=pointless)

    def look(place: Place) -> Look:
        result = measure_probe(_probe(context, base, place), measurer, draw, reporter, at_base)
        if result.kld is None or result.standard_error is None:
            return Look(*place, log(PROTECTED))
        expected = looks.expected(place) - of_base[place[0]]
        noise = NOISE if base.is_source else ratio_noise(result.kld, result.standard_error, expected)
        return Look(*place, log_ratio(result.kld, expected), noise)

    for number in range(ROUNDS):
        places = looks.wanted(budgets, -(-left // (ROUNDS - number)))
        if not places:
            break
        left -= len(places)
        reporter.phase(f"second probes, round {number + 1}", len(places))
        looks.add(_in_turn(context, measurer, base, places, look))
    return looks.prior


def most_second_probes(plan: Plan, probing: Probing) -> int:
    """Of a study whose tokens are not limited, for each budget: as set, or half as many as there are probes of parts.

    By default none where every unit was probed itself, or where another model's sensitivities are taken to save probes.
    """
    parts = [probe for probe in probing.probes if probe.kind != "uniform"]
    measured = {probe.tensors for probe in parts}
    are_measured = all(unit.tensors in measured for unit in plan.space.units if len(unit.options) > 1)
    half = 0 if are_measured or plan.given is not None else len(parts) // CHUNKS
    wanted = plan.config.second_probes
    return len(plan.budgets) * (half if wanted is None else wanted)


def _most(context: SearchContext, probing: Probing, tokens: int) -> int:
    """Second probes of a study, of so many tokens each; where tokens are limited, they take half of what is left at
    most. Decided once, since trials that are there were proposed with them: 0 for studies that began without any.
    """
    config, store, reporter = context.plan.config, context.store, context.reporter
    asked, kept = [config.second_probes, config.tokens], reporter.kept(SECOND_PROBES)
    if store.count_trials(context.study.id):
        return int(kept["most"]) if kept else 0
    if kept and kept["asked"] == asked:  # tokens that a run before a stop evaluated do not count against them
        return int(kept["most"])
    most = most_second_probes(context.plan, probing)
    if config.tokens is not None:
        left = max(0, config.tokens - store.study(context.study.id).tokens_evaluated)
        most = min(most, left // (2 * tokens))
    reporter.keep(SECOND_PROBES, {"most": most, "asked": asked})
    return most


def _in_turn(
    context: SearchContext, measurer: Measurer, base: ProbeBase, places: list[Place], look: Callable[[Place], Look]
) -> list[Look]:
    def before(index: int) -> None:
        context.check_stop()
        if index + 1 < len(places):
            measurer.scorer.prefetch(_probe(context, base, places[index + 1]).recipe)

    def after(done: int) -> None:
        context.reporter.advance(done, context.plan.space.units[places[done - 1][0]].name)

    return in_parallel(measurer.scorer, places, look, before=before, after=after)


def _probe(context: SearchContext, base: ProbeBase, place: Place) -> Probe:
    unit = context.plan.space.units[place[0]]
    option = unit.options[place[1]]
    recipe = Recipe({**base.recipe.tensor_types, **option.tensor_types})
    return Probe(OPTION, unit.name, option.name, unit.tensors, recipe)


def _damage_at_base(space: SearchSpace, base: ProbeBase, sensitivities: Sensitivities) -> npt.NDArray[np.float64]:
    """[units] what each is expected to cost where everything is at the base, nats per token."""
    if base.is_source:
        return np.zeros(len(space.units))
    types = base.recipe.tensor_types
    return np.array([sum(sensitivities.damage(name, types[name]) for name in unit.tensors) for unit in space.units])
