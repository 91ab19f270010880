"""How long the search's own sampler takes for a proposal, at three sizes of the problem.

    python -m benchmarks.ask                     42 x 6 after 100 trials, 448 x 8 after 300, 1,000 x 10 after 1,000
    python -m benchmarks.ask --asks 30           more proposals a size

One thread; seconds of the processor. Damages are synthetic: a lognormal sensitivity a unit times a curve over the bits,
with noise. All trials but the last few are told in one go, as when a search is continued; then trials are asked for and
told in turn, and the medians of these are shown, the first left out.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import time

import numpy as np
import numpy.typing as npt

from optimizer.search.decoding import decode, random_damage
from optimizer.search.prior import Prior
from optimizer.search.problem import Observation, SearchProblem
from optimizer.search.proposals import LayerquantProposer
from optimizer.search.space import Option, SearchSpace, Unit

SIZES = ((42, 6, 100), (448, 8, 300), (1000, 10, 1000))
SMALLEST_BITS, LARGEST_BITS = 2.625, 8.5
NOISE = 0.02


def make_problem(
    n_units: int, n_options: int, rng: np.random.Generator
) -> tuple[SearchProblem, npt.NDArray[np.float64]]:
    """A problem at 1.4 times the smallest size, and the true damage of every option."""
    bits = np.linspace(SMALLEST_BITS, LARGEST_BITS, n_options)
    parameters = {f"tensor.{unit}": int(rng.integers(1, 60)) * 256_000 for unit in range(n_units)}
    units = [
        Unit(name, (name,), tuple(Option(f"{b:.2f}", {name: f"{b:.2f}"}, int(n * b / 8)) for b in bits))
        for name, n in parameters.items()
    ]
    space = SearchSpace(tuple(units), 4096)
    truth = rng.lognormal(0.0, 1.0, (n_units, 1)) * np.exp2(-1.6 * bits) * rng.lognormal(0.0, 0.2, (n_units, n_options))
    prior = truth * rng.lognormal(0.0, 0.3, (n_units, 1))
    classes = np.tile(np.arange(n_options), (n_units, 1))
    return SearchProblem(space, int(1.4 * space.smallest_bytes), parameters, 0, Prior(prior, classes)), truth


def measure(n_units: int, n_options: int, n_trials: int, n_asks: int) -> tuple[float, float, float]:
    """Processor seconds: telling all trials in one go, then the median of an ask and of a tell after warm-up."""
    rng = np.random.default_rng(0)
    problem, truth = make_problem(n_units, n_options, rng)
    rows = np.arange(n_units)

    def observe(choice: npt.NDArray[np.int64]) -> Observation:
        damage = float(truth[rows, choice].sum() * (1 + NOISE * rng.standard_normal()))
        return Observation(choice, damage, NOISE * damage)

    proposer = LayerquantProposer(problem)
    history = []
    for _ in range(n_trials - n_asks):
        blend = truth * random_damage(problem.space, rng) ** 0.1
        history.append(observe(decode(problem.space, blend, problem.budget_bytes)))
    start = time.process_time()
    for observation in history:
        proposer.tell(observation, own=True)
    replay = time.process_time() - start
    asks, tells = [], []
    for number in range(n_trials - n_asks, n_trials):
        start = time.process_time()
        proposal = proposer.ask(number)
        asks.append(time.process_time() - start)
        observation = observe(proposal.choice)
        start = time.process_time()
        proposer.tell(observation, own=True)
        tells.append(time.process_time() - start)
    return replay, float(np.median(asks[1:])), float(np.median(tells[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asks", type=int, default=16)
    arguments = parser.parse_args()
    print("units  options  trials   ask (ms)  tell (ms)  told in one go (s)")
    for n_units, n_options, n_trials in SIZES:
        replay, ask, tell = measure(n_units, n_options, n_trials, arguments.asks)
        print(
            f"{n_units:5}  {n_options:7}  {n_trials:6}   {ask * 1e3:8.1f}  {tell * 1e3:9.1f}  {replay:18.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
