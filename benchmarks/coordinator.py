"""What the coordinator adds to a trial, and how long the commands that look take with a full store.

usage: python -m benchmarks.coordinator [--told 1000] [--last 50] [--stored 10000] [--scratch DIR] [--databases A,B]
       python -m benchmarks.coordinator --told 0 --databases postgresql       the commands alone, on PostgreSQL

A real search of a 64-layer model of tiny tensors, by tensors (450 units, 6 types), with real shards, store and sampler;
the evaluator is a fake one, and its own time is taken off. Shown is wall time a trial over the last trials: ask,
assemble, record, tell. The mirrors to Optuna's tables and MLflow are off the critical path, and off here.
Then a study by layers is filled up to so many trials, and `layerquant status`, `trials` and `report` are run as a user
would, each in a process of its own; the median of five. PostgreSQL is a server of this benchmark's own that waits for
the disk at every commit, from Debian's package.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import sqlalchemy as sa

from evaluators.divergence import Score
from evaluators.evaluator import Progress
from evaluators.fake import FakeEvaluator
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.progress import SilentReporter
from optimizer.search.planning import make_plan
from optimizer.search.runner import run_search
from optimizer.store.schema import Table, Trial
from optimizer.workplace import Workplace
from tests.models import tiny_model
from tests.postgres import private_server

LAYERS = 64
COMMANDS = ("status", "trials", "report")
DATABASES = ("sqlite", "postgresql")


class TimedEvaluator(FakeEvaluator):
    seconds = 0.0
    thread_seconds = 0.0

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        started, thread_started = time.monotonic(), time.thread_time()
        try:
            return super().score(candidate_paths, reference, chunks, progress, settings=settings)
        finally:
            TimedEvaluator.seconds += time.monotonic() - started
            TimedEvaluator.thread_seconds += time.thread_time() - thread_started


class TrialClock(SilentReporter):
    """Notes when each trial has ended, less what the evaluator took: by the wall and by this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[tuple[float, float]] = []
        self._of_trials = False

    def phase(self, title: str, total: int) -> None:
        self._of_trials = title.startswith("search at")

    def advance(self, done: int, detail: str = "") -> None:
        if not self._of_trials:
            return
        wall, thread = time.monotonic() - TimedEvaluator.seconds, time.thread_time() - TimedEvaluator.thread_seconds
        self.ends.append((wall, thread))

    def overheads(self, clock: int) -> list[float]:
        """Seconds of each trial but the first; clock: 0 wall, 1 the coordinator's own processor time."""
        return [end[clock] - start[clock] for start, end in zip(self.ends, self.ends[1:], strict=False)]


def search(folder: Path, workplace: Workplace, units: str, trials: int) -> TrialClock:
    settings: dict[str, Any] = {
        "model": str(folder / "tiny.gguf"),
        "study": units,
        "units": units,
        "trials": trials,
        "search_text": str(folder / "search.txt"),
        "report_text": str(folder / "report.txt"),
        "evaluation.ctx_size": 64,
        "evaluation.chunks": 16,
        "tracking.mlflow": "none",
        "tracking.optuna": False,
    }
    clock = TrialClock()
    run_search(
        make_plan(SearchConfig.load(None, settings)), workplace, clock, [False], name=units,
        evaluator_factory=TimedEvaluator,
    )  # fmt: skip
    return clock


def fill(workplace: Workplace, name: str, n_trials: int) -> None:
    """More trials like those that the study has, up to `n_trials`."""
    table: Any = Table.metadata.tables[Trial.__tablename__]
    with workplace.open_store() as store:
        study = store.find_study(name)
        assert study is not None
        done = len(store.trials(study.id))
        with store.writing() as session:
            rows = [
                dict(row) for row in session.execute(sa.select(table).where(table.c.study_id == study.id)).mappings()
            ]
            more = []
            for number in range(done, n_trials):
                more.append({**rows[number % done], "number": number, "name": None, "origin": "surrogate"})
                del more[-1]["id"]
            for start in range(0, len(more), 500):
                session.execute(sa.insert(table), more[start : start + 500])


def command_seconds(command: str, folder: Path, database: str | None) -> float:
    arguments = [command, "layers", "--studies", str(folder), *(["--database", database] if database else [])]
    program = [sys.executable, "-m", "optimizer.cli", *arguments]
    taken = []
    for _ in range(5):
        started = time.monotonic()
        subprocess.run(program, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.monotonic() - started)
    return median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--told", type=int, default=1000, help="trials before those that are timed; 0: time none")
    parser.add_argument("--last", type=int, default=50, help="trials that are timed")
    parser.add_argument("--stored", type=int, default=10_000, help="trials that the commands find; 0: run none")
    parser.add_argument("--scratch", type=Path, help="folder for the model and its shards, such as one in memory")
    parser.add_argument("--databases", default=",".join(DATABASES), help="which of the two, in this order")
    options = parser.parse_args()
    kinds = options.databases.split(",")
    if not {*kinds} <= {*DATABASES}:
        parser.error(f"--databases {options.databases}: write one of {', '.join(DATABASES)}, or both with a comma")
    with ExitStack() as stack:
        folder, studies = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="layerquant-coordinator-", dir=each)))
            for each in (options.scratch, None)
        )
        tiny_model(folder, n_layer=LAYERS, n_embd=256, ffn=256)
        for text in ("search", "report"):
            (folder / f"{text}.txt").write_text(text * 4000)
        bank = folder / "bank"
        for kind in kinds:
            database = None
            if kind == "postgresql":
                database = stack.enter_context(private_server(durable=True)).new_database()
            workplace = Workplace(studies / kind, database, bank)
            if options.told:
                clock = search(folder, workplace, "tensors", options.told + options.last)
                last, own = (clock.overheads(which)[-options.last :] for which in (0, 1))
                print(
                    f"{kind}: after {options.told} trials, {1e3 * median(last):.0f} ms a trial "
                    f"(median; 90 % within {1e3 * sorted(last)[int(0.9 * len(last))]:.0f} ms), "
                    f"of which {1e3 * median(own):.0f} ms the coordinator's own processor time",
                    flush=True,
                )
            if options.stored:
                search(folder, workplace, "layers", 40)
                fill(workplace, "layers", options.stored)
                for command in COMMANDS:
                    seconds = command_seconds(command, workplace.studies, database)
                    print(f"{kind}: {command} with {options.stored} trials: {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
