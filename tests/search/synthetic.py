"""Search problems with a known true damage: additive, or with interactions between neighbours below 4 bits."""

from dataclasses import dataclass

import numpy as np

from optimizer.search.decoding import decode, random_damage
from optimizer.search.prior import Prior
from optimizer.search.problem import Observation, SearchProblem
from optimizer.search.space import Option, SearchSpace, Unit

TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0")
BITS = np.array([2.625, 3.4375, 4.5, 5.5, 6.5625, 8.5])
SIZES = (1, 2, 4, 4)
"""Relative numbers of weights of the units, in turn."""


@dataclass
class SyntheticSearch:
    """`truth`: [units, options] damage without interactions. `interaction`: share of the damage below 4 bits."""

    problem: SearchProblem
    truth: np.ndarray
    interaction: float
    noise: float
    rng: np.random.Generator

    def damage(self, choice: np.ndarray) -> float:
        own = self.truth[np.arange(len(choice)), choice]
        low = own * (BITS[choice] < 4)
        return float(own.sum() + self.interaction * np.sqrt(low[1:] * low[:-1]).sum())

    def observe(self, choice: np.ndarray) -> Observation:
        damage = self.damage(choice) * float(1 + self.noise * self.rng.standard_normal())
        return Observation(choice, damage, 0.05 * damage)

    def baselines(self, n: int) -> list[Observation]:
        """Choices that know nothing of the sensitivities, the uniform fill first."""
        space, budget = self.problem.space, self.problem.budget_bytes
        flat = space.sizes[:, :1] * np.exp2(-2 * BITS)
        choices = [decode(space, flat, budget)]
        choices += [decode(space, random_damage(space, self.rng), budget) for _ in range(n - 1)]
        return [self.observe(choice) for choice in choices]


def synthetic_search(
    seed: int, n_units: int = 48, *, shuffled: bool = False, interaction: float = 0.3, noise: float = 0.01
) -> SyntheticSearch:
    rng = np.random.default_rng((seed, 12))
    weights = np.resize(np.array(SIZES), n_units) * 65536
    units = tuple(
        Unit(
            name,
            (name,),
            tuple(Option(kind, {name: kind}, int(n * b / 8)) for kind, b in zip(TYPES, BITS, strict=True)),
        )
        for name, n in ((f"unit.{index}", int(n)) for index, n in enumerate(weights))
    )
    space = SearchSpace(units, 4096)
    truth = rng.lognormal(0, 1, (n_units, 1)) * np.exp2(-1.6 * BITS) * rng.lognormal(0, 0.2, (n_units, len(BITS)))
    prior = truth * rng.lognormal(0, 0.3, (n_units, 1))
    if shuffled:
        prior = prior[rng.permutation(n_units)]
    classes = np.tile(np.arange(len(BITS)), (n_units, 1))
    parameters = {f"unit.{index}": int(n) for index, n in enumerate(weights)}
    budget = 4096 + int((weights * 4.25 / 8).sum())
    problem = SearchProblem(space, budget, parameters, seed, Prior(prior, classes))
    return SyntheticSearch(problem, truth, interaction, noise, rng)
