"""The laws of every sampler, ours included: budget, allowed options, and the same proposals after a replay."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.problem import Observation, Proposer
from optimizer.search.samplers import MAKERS, NEED_PROBES, NEED_WEIGHT_ERRORS, ONE_SHOT
from optimizer.settings import SAMPLERS
from tests.search.rivals.problems import make_problem, trial_of

TRIALS = 14


def run(proposer: Proposer, seed: int, trials: int) -> list[tuple[Observation, bool]]:
    """One baseline, then `trials` proposals, each checked."""
    problem = make_problem(seed)
    space, rows = problem.space, np.arange(len(problem.space.units))
    smallest = np.where(space.allowed, space.sizes, np.iinfo(np.int64).max).argmin(axis=1)
    history = [(trial_of(problem, smallest), False)]
    proposer.tell(*history[0][:1], own=False)
    for number in range(1, trials + 1):
        proposal = proposer.ask(number)
        assert space.file_bytes(proposal.choice) <= problem.budget_bytes
        assert space.allowed[rows, proposal.choice].all()
        assert 0 < proposal.share <= 1
        history.append((trial_of(problem, proposal.choice, proposal.share), True))
        proposer.tell(history[-1][0], own=True)
    return history


@pytest.mark.parametrize("name", sorted(MAKERS))
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_every_proposal_fits_and_is_allowed(name: str, seed: int) -> None:
    run(MAKERS[name](make_problem(seed)), seed, TRIALS)


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("seed", [3, 4])
def test_a_replayed_history_gives_the_same_proposals(name: str, seed: int) -> None:
    first = MAKERS[name](make_problem(seed))
    history = run(first, seed, TRIALS)
    again = MAKERS[name](make_problem(seed))
    for observation, own in history:
        again.tell(observation, own=own)
    for number in range(TRIALS + 1, TRIALS + 4):
        expected, found = first.ask(number), again.ask(number)
        assert found.choice.tolist() == expected.choice.tolist()
        assert (found.origin, found.share) == (expected.origin, expected.share)
        ended = trial_of(make_problem(seed), found.choice, found.share)
        first.tell(ended, own=True)
        again.tell(ended, own=True)


@pytest.mark.parametrize("name", sorted(set(MAKERS) - {"layerquant"}))
def test_asking_twice_gives_one_proposal(name: str) -> None:
    """Ours gives another one instead, for an evaluator that waits: test_proposals."""
    proposer = MAKERS[name](make_problem(5))
    assert proposer.ask(0).choice.tolist() == proposer.ask(0).choice.tolist()


@pytest.mark.parametrize("name", sorted(set(MAKERS) - ONE_SHOT))
def test_the_seed_counts(name: str) -> None:
    """Of two seeds over the same space, some of the first proposals differ."""
    found = []
    for seed in (1, 2):
        problem = replace(make_problem(8, n_layer=6), seed=seed)
        proposer = MAKERS[name](problem)
        choices = []
        for number in range(8):
            proposal = proposer.ask(number)
            choices.append(proposal.choice.tolist())
            proposer.tell(trial_of(problem, proposal.choice, proposal.share), own=True)
        found.append(choices)
    assert found[0] != found[1]


def test_names_agree_with_the_settings() -> None:
    assert set(MAKERS) == set(SAMPLERS)
    assert set(MAKERS) >= NEED_PROBES | NEED_WEIGHT_ERRORS | ONE_SHOT


def test_the_page_names_every_sampler() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "samplers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) ?\| (many|one) \|$", page, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(MAKERS)
    assert {name for name, _, answers in rows if answers == "one"} == ONE_SHOT
    assert {name for name, needs, _ in rows if needs.strip() == "probes"} == NEED_PROBES
    assert {name for name, needs, _ in rows if needs.strip() == "weight errors"} == NEED_WEIGHT_ERRORS
