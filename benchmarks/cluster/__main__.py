"""One search on 1 to 64 simulated evaluators: how much of their time is used, and where it bends.

    python -m benchmarks.cluster                              1, 4, 16, 32 and 64; an hour and a half, mostly asleep
    python -m benchmarks.cluster --evaluators 16 --waves 10   one of them, ten trials for each evaluator
    python -m benchmarks.cluster --database postgresql://…    the store elsewhere

Real: the Dask scheduler, worker processes, job exchange, candidate assembly, surrogate, knapsack and store, of a model
of 64 layers by groups. Simulated: the evaluation, which sleeps (30 s for the full text, as measured ones vary) and
knows the damage. All of it runs on one machine, so 64 worker processes share its cores with the coordinator.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.cluster.run import run
from benchmarks.pages import fill

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURES = DOCS / "scaling.md", DOCS / "cluster.json"
HEADS = (
    "evaluators",
    "trials",
    "seconds a trial",
    "used of their time",
    "until the last trial began",
    "trials an hour",
)


def efficiency(figures: Sequence[Mapping[str, Any]]) -> str:
    """By number of evaluators."""
    lines = ["| " + " | ".join(HEADS) + " |", "| --- " * len(HEADS) + "|"]
    for each in figures:
        lines.append(
            f"| {each['evaluators']} | {each['trials']} | {each['mean_trial_seconds']:.1f} | {each['efficiency']:.1%} "
            f"| {each['steady_efficiency']:.1%} | {each['trials_per_hour']:,.0f} |"
        )
    return "\n".join(lines)


def publish(found: Sequence[Mapping[str, Any]]) -> None:
    """Figures of the same number of evaluators are replaced."""
    kept = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else []
    by_count = {each["evaluators"]: each for each in (*kept, *found)}
    figures = [by_count[count] for count in sorted(by_count)]
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), [efficiency], figures), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--evaluators", type=int, nargs="+", default=[1, 4, 16, 32, 64])
    parser.add_argument("--waves", type=int, default=16, help="trials for each evaluator")
    parser.add_argument("--seconds", type=float, default=30.0, help="an evaluation of the full text")
    parser.add_argument("--database")
    parser.add_argument("--publish", action="store_true", help="keep the figures in docs/")
    given = parser.parse_args()
    figures = []
    with TemporaryDirectory() as name:
        for count in given.evaluators:
            found = run(Path(name), count, count * given.waves, given.seconds, given.database)
            figures.append(found)
            print(json.dumps(found), flush=True)
    print(efficiency(figures))
    if given.publish:
        publish(figures)


if __name__ == "__main__":
    main()
