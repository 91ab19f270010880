"""One search on 1 to 64 simulated evaluators: how much of their time is used, and where it bends.

    python -m benchmarks.cluster                              1, 4, 16, 32 and 64; about half an hour, mostly asleep
    python -m benchmarks.cluster --evaluators 16 --waves 10   one of them, ten trials for each evaluator
    python -m benchmarks.cluster --database postgresql://…    the store elsewhere

Real: the Dask scheduler, worker processes, job exchange, candidate assembly, surrogate, knapsack and store, of a model
of 64 layers by groups. Simulated: the evaluation, which sleeps (30 s for the full text, as measured ones vary) and
knows the damage. All of it runs on one machine, so 64 worker processes share its cores with the coordinator.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cluster.run import run


def table(figures: Any) -> str:
    """Efficiency by number of evaluators."""
    heads = (
        "evaluators",
        "trials",
        "seconds a trial",
        "used of their time",
        "until the last trial began",
        "trials an hour",
    )
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for each in figures:
        lines.append(
            f"| {each['evaluators']} | {each['trials']} | {each['mean_trial_seconds']:.1f} | {each['efficiency']:.1%} "
            f"| {each['steady_efficiency']:.1%} | {each['trials_per_hour']:,.0f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluators", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--waves", type=int, default=20, help="trials for each evaluator")
    parser.add_argument("--seconds", type=float, default=30.0, help="an evaluation of the full text")
    parser.add_argument("--database")
    parser.add_argument("--keep", type=Path, help="write the figures to this file as JSON")
    given = parser.parse_args()
    figures = []
    with TemporaryDirectory() as name:
        for count in given.evaluators:
            found = run(Path(name), count, count * given.waves, given.seconds, given.database)
            figures.append(found)
            print(json.dumps(found), flush=True)
    print(table(figures))
    if given.keep:
        given.keep.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
