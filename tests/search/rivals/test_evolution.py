"""Evolution: who the parent is, how stages shrink, and what a mutation may do."""

import numpy as np
import pytest

from optimizer.search.problem import Observation, Proposal, Proposer, SearchProblem
from optimizer.search.rivals.bit_error import bit_error
from optimizer.search.rivals.evolution import DOCUMENTED, SHORT, Stage, evolution, evolution_short
from optimizer.search.rivals.offspring import Mutation
from tests.search.rivals.problems import make_problem


@pytest.fixture
def problem() -> SearchProblem:
    return make_problem(8, n_layer=12)


def distance(first: np.ndarray, second: np.ndarray) -> int:
    return int((first != second).sum())


def generation(proposer: Proposer, stages: tuple[Stage, ...], target: np.ndarray) -> list[Proposal]:
    """Every proposal of one generation; damage is the distance to a recipe that cannot be reached at once."""
    asked = []
    for number in range(sum(stage.candidates for stage in stages)):
        proposal = proposer.ask(number)
        asked.append(proposal)
        proposer.tell(Observation(proposal.choice, distance(proposal.choice, target), 0.0, proposal.share), own=True)
    return asked


@pytest.mark.parametrize(("make", "stages"), [(evolution, DOCUMENTED), (evolution_short, SHORT)])
def test_stages_keep_the_best(make: type, stages: tuple[Stage, ...], problem: SearchProblem) -> None:
    proposer = make(problem)
    start = proposer.ask(0)
    assert start.share == 1
    proposer.tell(Observation(start.choice, 1e9, 0.0), own=True)
    target = problem.space.allowed.argmax(axis=1)
    asked = generation(proposer, stages, target)
    assert [proposal.share for proposal in asked] == [stage.share for stage in stages for _ in range(stage.candidates)]
    first, second = asked[: stages[0].candidates], asked[stages[0].candidates :][: stages[1].candidates]
    best = sorted(distance(proposal.choice, target) for proposal in first)[: len(second)]
    assert [distance(proposal.choice, target) for proposal in second] == best
    assert len({proposal.choice.tobytes() for proposal in first}) == len(first)


def test_a_better_winner_becomes_the_parent_and_a_worse_one_does_not(problem: SearchProblem) -> None:
    proposer = evolution_short(problem)
    mutation = Mutation(problem.space, bit_error(problem.space, problem.parameters), problem.budget_bytes)
    rng = np.random.default_rng(problem.seed)
    parent = proposer.ask(0).choice
    proposer.tell(Observation(parent, 20.0, 0.0), own=True)
    for on_full_text in (30.0, 10.0, 15.0, 5.0):
        expected = mutation.offspring(parent, SHORT[0].candidates, rng)
        for stage in SHORT:
            for _ in range(stage.candidates):
                proposal = proposer.ask(0)
                if stage is SHORT[0]:
                    assert proposal.choice.tolist() == next(expected).tolist()
                proposer.tell(Observation(proposal.choice, on_full_text, 0.0, stage.share), own=True)
        if on_full_text in (10.0, 5.0):
            parent = proposal.choice


def test_the_best_usable_baseline_is_the_first_parent(problem: SearchProblem) -> None:
    damage = bit_error(problem.space, problem.parameters)
    mutation = Mutation(problem.space, damage, problem.budget_bytes)
    smallest = np.where(problem.space.allowed, problem.space.sizes, 2**60).argmin(axis=1)
    forbidden = np.where(problem.space.allowed, 0, 1).argmax(axis=1)
    proposer = evolution_short(problem)
    proposer.tell(Observation(forbidden, 0.1, 0.0), own=False)
    proposer.tell(Observation(smallest, 1.0, 0.0), own=False)
    expected = next(mutation.offspring(smallest, 16, np.random.default_rng(problem.seed)))
    assert proposer.ask(0).choice.tolist() == expected.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_offspring_are_near_and_use_the_bytes(seed: int) -> None:
    problem = make_problem(seed, n_layer=20)
    space, rows = problem.space, np.arange(len(problem.space.units))
    damage = bit_error(space, problem.parameters)
    mutation = Mutation(space, damage, problem.budget_bytes)
    parent = next(mutation.offspring(np.where(space.allowed, space.sizes, 2**60).argmin(axis=1), 1,
                                     np.random.default_rng(seed)))  # fmt: skip
    children = list(mutation.offspring(parent, 30, np.random.default_rng(seed)))
    assert children
    for child in children:
        left = problem.budget_bytes - space.file_bytes(child)
        grown = space.sizes - space.sizes[rows, child][:, None]
        helps = damage[rows, child][:, None] - damage > 0
        assert left >= 0
        assert not (space.allowed & helps & (grown > 0) & (grown <= left)).any()


def test_a_parent_without_offspring_does_not_stall() -> None:
    problem = make_problem(3, n_layer=0)
    proposer = evolution(problem)
    for number in range(5):
        proposal = proposer.ask(number)
        assert problem.space.file_bytes(proposal.choice) <= problem.budget_bytes
        proposer.tell(Observation(proposal.choice, 1.0, 0.0, proposal.share), own=True)
