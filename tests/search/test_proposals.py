"""The search's own proposals: they fit, continue after a restart, learn, and survive probes that were wrong."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.search.beliefs import DOUBTS, beliefs, likeliest
from optimizer.search.decoding import decode, random_damage
from optimizer.search.exchanges import exchange
from optimizer.search.honesty import Forecast
from optimizer.search.prior import Prior
from optimizer.search.problem import Observation, Proposal
from optimizer.search.proposals import EXCHANGE, EXPLOIT, LayerquantProposer
from tests.search.synthetic import SyntheticSearch, synthetic_search

N_BASELINES = 4


def play(search: SyntheticSearch, trials: int) -> tuple[LayerquantProposer, list[Observation], list[Proposal]]:
    """Baselines, then own trials; returns all observations, and the proposals."""
    proposer, history, proposals = LayerquantProposer(search.problem), search.baselines(N_BASELINES), []
    for baseline in history:
        proposer.tell(baseline, own=False)
    for number in range(len(history), len(history) + trials):
        proposals.append(proposer.ask(number))
        history.append(search.observe(proposals[-1].choice))
        proposer.tell(history[-1], own=True)
    return proposer, history, proposals


def test_a_restart_proposes_the_same() -> None:
    search = synthetic_search(0)
    _, history, proposals = play(search, 30)
    for told in (N_BASELINES, N_BASELINES + 13, N_BASELINES + 29):
        again = LayerquantProposer(search.problem)
        for number, observation in enumerate(history[:told]):
            again.tell(observation, own=number >= N_BASELINES)
        before = proposals[told - N_BASELINES]
        after = again.ask(told)
        assert np.array_equal(after.choice, before.choice)
        assert (after.origin, after.predicted_damage) == (before.origin, before.predicted_damage)


def test_the_number_of_threads_changes_no_proposal() -> None:
    script = (
        "from tests.search.test_proposals import play, synthetic_search\n"
        "import zlib\n"
        "print([zlib.crc32(p.choice.tobytes()) for p in play(synthetic_search(1, 200), 24)[2]])"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert printed[0] == printed[1]
    assert printed[0].startswith("[")


def test_proposals_fit_are_new_and_say_what_they_expect() -> None:
    search = synthetic_search(2)
    proposer, history, proposals = play(search, 40)
    space = search.problem.space
    assert all(space.file_bytes(proposal.choice) <= search.problem.budget_bytes for proposal in proposals)
    assert len({observation.choice.tobytes() for observation in history}) == len(history)
    for proposal, observation in zip(proposals[20:], history[N_BASELINES + 20 :], strict=True):
        assert proposal.predicted_damage == pytest.approx(observation.damage, rel=0.35)
        assert proposal.predicted_standard_error is not None
        assert 0 < proposal.predicted_standard_error < 0.35 * observation.damage
    assert proposer.is_believed


def test_good_probes_are_believed_and_wrong_ones_are_not() -> None:
    """The level of the prior is put right, and shuffled sensitivities lose against equal ones."""
    for shuffled in (False, True):
        search = synthetic_search(3, shuffled=shuffled)
        assert search.problem.prior is not None
        rng, problem = np.random.default_rng(0), search.problem
        draws = [decode(problem.space, random_damage(problem.space, rng), problem.budget_bytes) for _ in range(24)]
        seen = [search.observe(choice) for choice in draws]
        candidates = beliefs(problem.space, search.problem.prior, problem.parameters)
        chosen = likeliest(candidates, search.problem.prior, seen).prior
        share = chosen / np.where(np.isfinite(candidates[0].damage), candidates[0].damage, 1.0)
        keeps_probes = share.std() < 1e-9 * share.mean()
        assert keeps_probes is not shuffled


def test_beliefs_keep_what_is_missing_and_widen_a_borrowed_prior() -> None:
    search = synthetic_search(4, n_units=6)
    prior = search.problem.prior
    assert prior is not None
    damage = prior.damage.copy()
    damage[1, 5], damage[2, 4], damage[3, 5] = np.inf, np.nan, 0.0
    borrowed = Prior(damage, prior.type_classes, unit_spread=2.0)
    own, mixed, _, flat = beliefs(search.problem.space, borrowed, search.problem.parameters)
    for each in (own, mixed, flat):
        assert not np.isfinite(each.damage[[1, 2], [5, 4]]).any()
        assert np.isfinite(each.damage).sum() == damage.size - 2
    assert own.spreads.unit == 2 * DOUBTS[0.0]
    assert flat.spreads.unit == DOUBTS[1.0]
    parameters = list(search.problem.parameters.values())
    assert flat.damage[:, 0] / flat.damage[0, 0] == pytest.approx(np.array(parameters) / parameters[0])


@pytest.mark.parametrize("seed", range(4))
def test_shuffled_sensitivities_still_beat_the_baselines(seed: int) -> None:
    search = synthetic_search(seed, shuffled=True)
    _, history, _ = play(search, 40)
    best_baseline = min(search.damage(observation.choice) for observation in history[:N_BASELINES])
    winner = min(history[N_BASELINES:], key=lambda observation: observation.damage)
    assert search.damage(winner.choice) < best_baseline


def test_a_surrogate_that_misleads_gives_way_to_exchanges_and_comes_back() -> None:
    search = synthetic_search(5)
    proposer, history, _ = play(search, 10)
    best = min(observation.damage for observation in history)
    lying = Forecast(0.9 * best, 0.01 * best, 2 * best, best, 0.01 * best)
    proposer._forecasts[:] = [lying] * 8
    origins = []
    for number in range(100, 140):
        origins.append(proposer.ask(number).origin)
        proposer.tell(search.observe(proposer.ask(number).choice), own=True)
        if proposer.is_believed:
            break
    assert origins.count(EXCHANGE) >= 2 * origins.count(EXPLOIT)
    assert proposer.is_believed
    assert 4 <= len(origins) < 30


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6))
def test_exchanges_stay_within_the_budget_and_move_single_steps(seed: int, n_pairs: int) -> None:
    search = synthetic_search(seed % 7, n_units=16)
    space, budget = search.problem.space, search.problem.budget_bytes
    rng = np.random.default_rng(seed)
    start = decode(space, random_damage(space, rng), budget)
    changed = exchange(space, start, budget, n_pairs, rng)
    moved = changed - start
    assert space.file_bytes(changed) <= budget
    assert set(moved.tolist()) <= {-1, 0, 1}
    assert (moved == 1).sum() == (moved == -1).sum() <= n_pairs
    assert (moved != 0).any()


def test_what_waits_for_its_result_is_not_proposed_again() -> None:
    """Several evaluators: ask after ask without a result between them."""
    search = synthetic_search(3)
    proposer, _, _ = play(search, 4)
    waiting = [proposer.ask(number).choice.tobytes() for number in range(50, 66)]
    assert len(set(waiting)) == len(waiting)
