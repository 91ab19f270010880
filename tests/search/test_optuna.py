"""Our sampler under Optuna's own test cases, and bound to a space."""

from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from optimizer.search.prior import Prior
from optimizer.search.problem import SearchProblem
from optimizer.search.sampler import SearchSampler, distributions
from optimizer.search.samplers import MAKERS
from optimizer.search.space import Option, SearchSpace, Unit

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestSearchSampler(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: SearchSampler(seed=1)


TYPES = (("Q3_K", 110), ("Q4_K", 144), ("Q5_K", 176), ("Q6_K", 210))
N_UNITS = 12


@pytest.fixture
def space() -> SearchSpace:
    units = []
    for index in range(N_UNITS):
        tensor = f"blk.{index}.ffn_down.weight"
        weight = 1 + index % 3
        options = tuple(Option(name, {tensor: name}, size * weight * 32) for name, size in TYPES)
        extra = Option("IQ4_XS", {tensor: "IQ4_XS"}, 136 * weight * 32, allowed=False)
        units.append(Unit(tensor.removesuffix(".weight"), (tensor,), (*options, extra)))
    return SearchSpace(tuple(units), 1000)


def damage(space: SearchSpace, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    table = np.exp(rng.normal(0, 1, (N_UNITS, 1))) * np.array([0.2, 0.05, 0.013, 0.004, 0.06])
    return table * np.exp(rng.normal(0, 0.2, table.shape))


def bound(space: SearchSpace, prior: np.ndarray, budget: int, seed: int = 7) -> SearchSampler:
    classes = np.tile(np.arange(5), (N_UNITS, 1))
    problem = SearchProblem(space, budget, {}, seed, Prior(prior, classes))
    return SearchSampler(space, MAKERS["layerquant"](problem), seed=seed)


def choices_of(study: optuna.Study, space: SearchSpace) -> list[np.ndarray]:
    return [space.choice_of_params(trial.params) for trial in study.trials]


def run(space: SearchSpace, sampler: SearchSampler, truth: np.ndarray, trials: int) -> optuna.Study:
    study = optuna.create_study(sampler=sampler)
    for _ in range(trials):
        trial = study.ask(distributions(space))
        choice = space.choice_of_params(trial.params)
        study.tell(trial, float(truth[np.arange(N_UNITS), choice].sum()))
    return study


def test_every_proposal_fits_is_allowed_and_new(space: SearchSpace) -> None:
    budget = 1000 + N_UNITS * 2 * 150 * 32
    truth = damage(space, 0)
    study = run(space, bound(space, truth * 1.3, budget), truth, 30)
    choices = choices_of(study, space)
    assert all(space.file_bytes(choice) <= budget for choice in choices)
    assert all((choice < 4).all() for choice in choices)
    assert len({choice.tobytes() for choice in choices}) == 30


def test_equal_seeds_propose_equally(space: SearchSpace) -> None:
    budget = 1000 + N_UNITS * 2 * 150 * 32
    truth = damage(space, 1)
    first, second = (run(space, bound(space, truth, budget), truth, 12) for _ in range(2))
    assert [trial.params for trial in first.trials] == [trial.params for trial in second.trials]


def test_it_learns_what_a_wrong_prior_hid(space: SearchSpace) -> None:
    """Shuffled sensitivities make the first proposal poor; trials correct at least half of the excess."""
    budget = 1000 + N_UNITS * 2 * 150 * 32
    truth = damage(space, 2)
    wrong = truth[np.random.default_rng(0).permutation(N_UNITS)]
    rows = np.arange(N_UNITS)
    best = run(space, bound(space, truth, budget), truth, 1).best_value
    values = [trial.value for trial in run(space, bound(space, wrong, budget), truth, 60).trials]
    assert values[0] > 1.1 * best
    assert min(values) < best + 0.5 * (values[0] - best)
    assert truth[rows, 0].sum() > best


def test_random_ignores_the_prior_and_fits(space: SearchSpace) -> None:
    budget = 1000 + N_UNITS * 2 * 150 * 32
    sampler = SearchSampler(space, MAKERS["random"](SearchProblem(space, budget, {}, 3)), seed=3)
    study = run(space, sampler, damage(space, 3), 10)
    assert all(space.file_bytes(choice) <= budget for choice in choices_of(study, space))
