"""One search on a cluster of simulated evaluators: real scheduler, worker processes, store and sampler."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.cluster.simulated import SECONDS_A_CHUNK, SPANS_FILE
from optimizer.config import SearchConfig
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.opening import open_scorer
from optimizer.progress import SilentReporter
from optimizer.search.planning import Plan, make_plan
from optimizer.search.runner import run_search
from optimizer.settings import ExecutionSettings
from optimizer.workplace import Workplace
from tests.models import tiny_model

LAYERS, CTX_SIZE, CHUNKS = 64, 64, 32
WORKERS = """
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.worker import posts_of, run_worker
import sys
run_worker(sys.argv[1], posts_of((), int(sys.argv[2]), 0), NodeSettings.of_environment(), None, print)
"""


def run(folder: Path, evaluators: int, trials: int, seconds: float, database: str | None) -> dict[str, Any]:
    """seconds: of an evaluation of the full text, at the median. Busy is an evaluator that evaluates, nothing else."""
    plan = _plan(folder, trials)
    workplace = Workplace(folder / f"studies-{evaluators}", database)
    name = f"simulated-{evaluators}-{time.time_ns()}"
    spans = folder / f"{name}.spans"
    with _cluster(folder, evaluators, seconds / CHUNKS, spans) as address:
        opener = open_scorer(ExecutionSettings(cluster=address))
        started = time.monotonic()
        run_search(plan, workplace, SilentReporter(), [False], name=name, open_scorer=opener)
        whole = time.monotonic() - started
    with workplace.open_store() as store:
        study = store.find_study(name)
        assert study is not None
        done = store.trials(study.id)
    evaluations = [(float(began), float(ended)) for began, ended in map(str.split, spans.read_text().splitlines())]
    begin, last = min(trial.started_at for trial in done), max(trial.started_at for trial in done)
    end = max(trial.finished_at or 0.0 for trial in done)
    own = [trial for trial in done if trial.name is None]
    return {
        "evaluators": evaluators,
        "trials": len(done),
        "mean_trial_seconds": _busy(evaluations, begin, end) / len(done),
        "wall_seconds": end - begin,
        "whole_seconds": whole,
        "steady_efficiency": _busy(evaluations, begin, last) / (evaluators * (last - begin)),
        "efficiency": _busy(evaluations, begin, end) / (evaluators * (end - begin)),
        "trials_per_hour": 3600 * len(done) / (end - begin),
        "best": min(trial.mean_kld for trial in own if trial.state == "complete" and trial.mean_kld is not None),
    }


def _busy(evaluations: Sequence[tuple[float, float]], begin: float, end: float) -> float:
    """Seconds of evaluators between two times."""
    return sum(max(0.0, min(ended, end) - max(began, begin)) for began, ended in evaluations)


def _plan(folder: Path, trials: int) -> Plan:
    model = folder / "tiny.gguf"
    if not model.exists():
        model = tiny_model(folder, n_layer=LAYERS, ffn=256)
        for name in ("search", "report"):
            (folder / f"{name}.txt").write_text(name * 4000)
    settings: dict[str, Any] = {
        "model": str(model),
        "units": "groups",
        "trials": trials,
        "probing": "layers_roles",
        "search_text": str(folder / "search.txt"),
        "report_text": str(folder / "report.txt"),
        "evaluation.ctx_size": CTX_SIZE,
        "evaluation.chunks": CHUNKS,
        "evaluation.report_chunks": 1,
        "evaluation.probe_chunks": 1,
        "baselines.hybrids": False,
        "tracking.mlflow": "none",
    }
    return make_plan(SearchConfig.load(None, settings))


@contextmanager
def _cluster(folder: Path, evaluators: int, seconds_a_chunk: float, spans: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    node = NodeSettings(
        str(folder / "nodes"),
        str(folder / "bank"),
        (str(folder),),
        1,
        evaluator="benchmarks.cluster.simulated:SimulatedEvaluator",
    )
    environment = os.environ | node.as_environment() | {SECONDS_A_CHUNK: repr(seconds_a_chunk), SPANS_FILE: str(spans)}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    commands: Sequence[Sequence[str]] = (
        ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"),
        ("-c", WORKERS, address, str(evaluators)),
    )
    processes = [
        subprocess.Popen([sys.executable, *command], env=environment, stderr=subprocess.DEVNULL) for command in commands
    ]
    try:
        _wait_for(address, evaluators)
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=120)


def _wait_for(address: str, evaluators: int) -> None:
    from distributed import Client

    with Client(address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(evaluators, timeout=600)
