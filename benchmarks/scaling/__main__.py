"""What a search of an 8B to 405B model costs, by formulas that are checked on the bundled model.

python -m benchmarks.scaling            the tables of docs/scaling.md from the kept figures; seconds
python -m benchmarks.scaling --check    measure this machine's rates and the demo search again first; minutes
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.pages import fill
from benchmarks.scaling.check import run
from benchmarks.scaling.cost import hours, workload
from benchmarks.scaling.machines import machines
from benchmarks.scaling.rates import quantize_rates
from benchmarks.scaling.stand_ins import SUBJECTS, Subject, active_weights, write_stand_in
from benchmarks.scaling.tables import TABLES
from optimizer.config import SearchConfig
from optimizer.search.planning import make_plan

DOCS = Path(__file__).parents[2] / "docs"
PAGE, FIGURES = DOCS / "scaling.md", DOCS / "scaling.json"


def cost(subject: Subject, rates: dict[str, float], share: float) -> dict[str, Any]:
    """One search at the default settings: by groups, K-quants, IQ4_XS bytes, 100 trials, 64 chunks of 512 tokens."""
    with TemporaryDirectory() as name:
        path = write_stand_in(Path(name), subject)
        plan = make_plan(SearchConfig.load(None, {"model": str(path), "budget": "IQ4_XS", "units": "groups"}))
    work = workload(plan, active_weights(plan.model, subject), share)
    figures = asdict(work) | {"title": subject.title, "reference_bytes": work.reference_bytes}
    return figures | {"hours": {machine.name: hours(work, machine) for machine in machines(rates)}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    if parser.parse_args().check or not figures:
        figures = {"rates": dict(quantize_rates()), "check": run()}
    share = figures["check"]["share"]
    figures["models"] = [cost(subject, figures["rates"], share) for subject in SUBJECTS]
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), TABLES, figures), encoding="utf-8")
    for make in TABLES:
        print(make(figures), end="\n\n")


if __name__ == "__main__":
    main()
