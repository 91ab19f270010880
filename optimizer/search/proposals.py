"""Where the next recipe comes from: a Thompson sample of the surrogate, or an exchange of bytes around the incumbent.

Both end in the same knapsack, so every proposal fits the budget to the byte. A recipe that was tried is
proposed again only where no other was found in many attempts.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from optimizer.search.decoding import decode, random_damage
from optimizer.search.knapsack import solve
from optimizer.search.problem import Observation, Proposal, SearchProblem
from optimizer.search.space import SearchSpace
from optimizer.search.surrogate import DamageModel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EXPLOIT = "mean"
THOMPSON = "thompson"
NEIGHBOUR = "neighbour"
RANDOM = "random"
CYCLE = (EXPLOIT, THOMPSON, NEIGHBOUR)
FREE_SHARE = 0.3
"""Share of the units that a neighbour proposal may change."""
ATTEMPTS = 24


class LayerquantProposer:
    """The search's own way: a surrogate of the damage, Thompson sampling, and exchanges around the incumbent."""

    def __init__(self, problem: SearchProblem) -> None:
        if problem.prior is None:
            raise ValueError("this sampler needs the prior that probes give")
        self._problem, self._prior = problem, problem.prior
        self._seen: list[Observation] = []
        self._failed: list[Integers] = []
        self._turn = 0

    def tell(self, observation: Observation, *, own: bool) -> None:
        self._turn += own
        if np.isfinite(observation.damage):
            self._seen.append(observation)
        else:
            self._failed.append(observation.choice)

    def ask(self, number: int) -> Proposal:
        problem = self._problem
        rng = np.random.default_rng((problem.seed, number))
        return propose(
            problem.space, self._prior.damage, self._prior.type_classes, self._seen, problem.budget_bytes,
            self._turn, rng, self._failed,
        )  # fmt: skip


def propose(
    space: SearchSpace,
    prior: Floats,
    type_classes: Integers,
    observations: Sequence[Observation],
    budget_bytes: int,
    turn: int,
    rng: np.random.Generator,
    failed: Sequence[Integers] = (),
) -> Proposal:
    """The next choice to measure. `turn` counts the search's own proposals; it picks the way of proposing.

    `failed`: choices that could not be measured and are not proposed again.
    """
    model = DamageModel(prior, type_classes, observations)
    tried = {*(observation.choice.tobytes() for observation in observations), *(each.tobytes() for each in failed)}
    kind = CYCLE[turn % len(CYCLE)]
    expected = model.mean()
    rows = np.arange(len(space.units))

    def finish(choice: Integers, origin: str) -> Proposal:
        return Proposal(choice, origin, float(expected[rows, choice].sum()))

    fitting = [o for o in observations if space.file_bytes(o.choice) <= budget_bytes and _is_allowed(space, o.choice)]
    incumbent = min(fitting, key=lambda o: o.damage).choice if fitting else None
    if kind == EXPLOIT:
        choice = decode(space, expected, budget_bytes)
        if choice.tobytes() not in tried:
            return finish(choice, EXPLOIT)
        kind = NEIGHBOUR
    for attempt in range(ATTEMPTS):
        if kind == NEIGHBOUR and incumbent is not None and attempt < ATTEMPTS // 2:
            choice = _neighbour(space, model.sample(rng), budget_bytes, incumbent, rng)
            origin = NEIGHBOUR
        else:
            choice = decode(space, model.sample(rng), budget_bytes)
            origin = THOMPSON
        if choice.tobytes() not in tried:
            return finish(choice, origin)
    return _untried(space, budget_bytes, tried, rng, finish)


def _untried(
    space: SearchSpace,
    budget_bytes: int,
    tried: set[bytes],
    rng: np.random.Generator,
    finish: Callable[[Integers, str], Proposal],
) -> Proposal:
    for _ in range(ATTEMPTS):
        choice = decode(space, random_damage(space, rng), budget_bytes)
        if choice.tobytes() not in tried:
            break
    return finish(choice, RANDOM)


def _is_allowed(space: SearchSpace, choice: Integers) -> bool:
    return bool(space.allowed[np.arange(len(choice)), choice].all())


def _neighbour(
    space: SearchSpace, damage: Floats, budget_bytes: int, incumbent: Integers, rng: np.random.Generator
) -> Integers:
    """Exchange bytes among a random part of the units; the others stay as the incumbent has them."""
    n_free = max(2, round(FREE_SHARE * len(incumbent)))
    free = rng.permutation(len(incumbent))[:n_free]
    held = np.ones(len(incumbent), dtype=np.bool_)
    held[free] = False
    kept = np.zeros(space.shape, dtype=np.bool_)
    kept[np.arange(len(incumbent)), incumbent] = True
    usable = np.where(held[:, None], kept, space.allowed)
    costs = np.where(usable, damage, np.inf)
    return solve(costs, space.sizes, budget_bytes - space.overhead_bytes).choice
