"""`layerquant worker --gpus`: which GPU an evaluator sees, and which cores it runs on. dask-cuda is ours here."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psutil
import pytest
from distributed import Client, Worker

from optimizer.execution import worker
from optimizer.execution.affinity import cores_near
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.worker import Post, posts_of, threads_of
from tests.execution.clusters import ROOT, Cluster, wait_for

ALLOWED = sorted(os.sched_getaffinity(0))
Install = Callable[[Callable[[object], object]], None]


@pytest.fixture
def dask_cuda(monkeypatch: pytest.MonkeyPatch) -> Install:
    """As if it were installed, with this `get_cpu_affinity`."""

    def install(affinity: Callable[[object], object]) -> None:
        utils = ModuleType("dask_cuda.utils")
        utils.get_cpu_affinity = affinity  # type: ignore[attr-defined]  # a module made here
        monkeypatch.setitem(sys.modules, "dask_cuda", ModuleType("dask_cuda"))
        monkeypatch.setitem(sys.modules, "dask_cuda.utils", utils)

    return install


def test_without_dask_cuda_all_cores_are_as_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dask_cuda", None)
    said: list[str] = []
    assert cores_near("0", said.append) is None
    assert said == []


def test_dask_cuda_is_asked_for_a_number_or_a_uuid(dask_cuda: Install) -> None:
    asked: list[object] = []
    dask_cuda(lambda device: [asked.append(device), ALLOWED[0], 4095][1:])
    for gpu in ("1", "GPU-7a5b"):
        assert cores_near(gpu, pytest.fail) == {ALLOWED[0]}  # core 4095 is not this process' to use
    assert asked == [1, "GPU-7a5b"]


def test_cores_that_are_all_forbidden_are_no_answer(dask_cuda: Install) -> None:
    dask_cuda(lambda device: [4095])
    assert cores_near("0", pytest.fail) is None


def test_an_evaluator_runs_where_nobody_knows(dask_cuda: Install) -> None:
    def affinity(device: object) -> object:
        raise RuntimeError("NVML is not there")

    dask_cuda(affinity)
    said: list[str] = []
    assert cores_near("0", said.append) is None
    assert "GPU 0 is not known (NVML is not there)" in said[0]

    def unsure(device: object) -> object:
        warnings.warn("setting default affinity", stacklevel=2)
        return ALLOWED

    dask_cuda(unsure)
    assert cores_near("0", pytest.fail) == set(ALLOWED)


@pytest.mark.parametrize(
    ("posts", "threads"),
    [
        (posts_of([], 0, 1), 16),
        (posts_of([], 3, 2), 5),
        (posts_of(["0", "1"], 1, 0), 8),
        ([Post("evaluate", 0, "0", frozenset(range(16))), Post("evaluate", 1, "1", frozenset(range(16, 32)))], 8),
        ([Post("evaluate", 0, "0", frozenset(range(16))), Post("evaluate", 1, "1", frozenset(range(16)))], 4),
        ([Post("evaluate", 0, "0", frozenset(range(8))), Post("evaluate", 1, "1")], 2),
        ([Post("evaluate", 0, "0", frozenset({3}))], 1),
    ],
)
def test_threads_are_a_share_of_the_cores_that_one_runs_on(
    monkeypatch: pytest.MonkeyPatch, posts: list[Post], threads: int
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 32 if logical else 16)
    assert threads_of(posts) == threads


def test_a_gpu_has_the_number_that_nvidia_smi_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    first, second = posts_of(["2", "GPU-7a5b"], 1, 0)
    node = NodeSettings("folder")
    seen = worker._environment(first, node)
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"]) == ("2", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    seen = worker._environment(second, node)
    assert (seen["CUDA_VISIBLE_DEVICES"], seen["CUDA_DEVICE_ORDER"]) == ("GPU-7a5b", "FASTEST_FIRST")
    assert "CUDA_VISIBLE_DEVICES" not in worker._environment(Post("evaluate", 0), node)


@pytest.mark.long
def test_a_worker_and_what_it_starts_stay_on_the_cores_near_its_gpu(tmp_path: Path) -> None:
    core = ALLOWED[-1]
    module = tmp_path / "modules" / "dask_cuda"
    module.mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "utils.py").write_text(f"def get_cpu_affinity(device):\n    return [{core}] if device == 0 else []\n")
    cluster = Cluster(tmp_path)
    cluster.start_scheduler()
    words = ["worker", "--scheduler", cluster.address, "--gpus", "0,1", "--studies", str(tmp_path / "node")]
    environment = os.environ | {"PYTHONPATH": f"{module.parent}:{ROOT}"}
    with (tmp_path / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "optimizer.cli", *words]
        cluster.processes.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))
    try:
        with Client(cluster.address, set_as_default=False) as client:
            wait_for(lambda: len(client.scheduler_info(n_workers=-1)["workers"]) == 2)
            jobs = [
                client.submit(_cores, workers=[name], pure=False, resources={"evaluate": 1})
                for name in client.scheduler_info(n_workers=-1)["workers"]
            ]
            found = {job.result()[0]: job.result()[1:] for job in jobs}
            regular = client.run(_regular_callbacks)
    finally:
        cluster.end()
    assert found == {"0": ([core], [core]), "1": (ALLOWED, ALLOWED)}
    assert len(regular) == 2
    for names in regular.values():  # a worker process tells that it lives, and is not profiled
        assert "heartbeat" in names
        assert not [name for name in names if "profile" in name]


def _regular_callbacks(dask_worker: Worker) -> list[str]:
    """In a worker: what it does now and then."""
    return list(dask_worker.periodic_callbacks)


def _cores() -> tuple[str, list[int], list[int]]:
    """In a worker: its GPU, the cores of the thread that works, and of a process that it starts."""
    asked = subprocess.run(
        [sys.executable, "-c", "import os; print(*sorted(os.sched_getaffinity(0)))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return (
        os.environ["CUDA_VISIBLE_DEVICES"],
        sorted(os.sched_getaffinity(0)),
        [int(core) for core in asked.stdout.split()],
    )
