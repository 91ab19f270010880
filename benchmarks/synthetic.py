"""SYNTHETIC: samplers on made-up damage with planted interactions, at the size of large models. For design work only.

usage: python -m benchmarks.synthetic [--layers 64,128] [--trials 60] [--seeds 3] [--samplers layerquant,random,…]

Six groups a layer, six types. Damage is a lognormal sensitivity a unit (sigma 1) times a curve over the bits, with
noise a cell, and interactions between neighbours below 4 bits. Probes are right within 30 %, or their units are
shuffled. Printed is the best true damage after so many trials over that of the knapsack on the true additive part,
geometric mean over seeds: below 1 where a sampler made use of interactions. Says nothing of a real model.
"""

import argparse
import time
from math import exp, log
from statistics import fmean

from optimizer.search.decoding import decode
from optimizer.search.samplers import MAKERS, ONE_SHOT
from tests.search.synthetic import SyntheticSearch, synthetic_search

GROUPS = 6
DEFAULT = "layerquant,random,one_shot,greedy,tpe_shape,cmaes,evolution_short"


def best_after(search: SyntheticSearch, sampler: str, trials: int) -> float:
    """Least true damage among the recipes proposed, over the knapsack's on the additive truth."""
    problem = search.problem
    goal = search.damage(decode(problem.space, search.truth, problem.budget_bytes))
    proposer = MAKERS[sampler](problem)
    best = float("inf")
    for number in range(1 if sampler in ONE_SHOT else trials):
        proposal = proposer.ask(number)
        proposer.tell(search.observe(proposal.choice), own=True)
        best = min(best, search.damage(proposal.choice))
    return best / goal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="64,128")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--samplers", default=DEFAULT)
    options = parser.parse_args()
    print("SYNTHETIC damage: true damage over the knapsack on the truth")
    print(f"{'layers':>6} {'probes':<9} {'sampler':<16} {'ratio':>6} {'s a seed':>9}")
    for layers in map(int, options.layers.split(",")):
        for shuffled in (False, True):
            for sampler in options.samplers.split(","):
                started = time.monotonic()
                ratios = [
                    best_after(
                        synthetic_search(seed, layers * GROUPS, shuffled=shuffled, interaction=0.6, noise=0.02),
                        sampler,
                        options.trials,
                    )
                    for seed in range(options.seeds)
                ]
                ratio = exp(fmean(map(log, ratios)))
                seconds = (time.monotonic() - started) / options.seeds
                probes = "shuffled" if shuffled else "good"
                print(f"{layers:>6} {probes:<9} {sampler:<16} {ratio:>6.3f} {seconds:>9.1f}", flush=True)


if __name__ == "__main__":
    main()
