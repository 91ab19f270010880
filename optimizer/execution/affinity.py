"""Evaluators on the cores nearest to their GPU, where dask-cuda is installed to tell which these are.

On a machine of several sockets a GPU hangs on one of them, and what crosses to the other is slower. dask-cuda asks
NVIDIA's management library; of the rest of it nothing is used (docs/decisions/dependencies.md).
"""

import os
import warnings
from collections.abc import Callable, Collection
from importlib import import_module

from distributed import WorkerPlugin
from distributed.worker import Worker


class OnCores(WorkerPlugin):  # type: ignore[misc]  # Dask has no types
    """Of a worker process: its threads and the processes that it starts run on these cores alone."""

    name = "layerquant-on-cores"

    def __init__(self, cores: Collection[int]) -> None:
        self.cores = tuple(cores)

    def setup(self, worker: Worker) -> None:
        """In the thread that starts all others."""
        os.sched_setaffinity(0, self.cores)


def cores_near(gpu: str, say: Callable[[str], None]) -> frozenset[int] | None:
    """Those that this process may use as well; None: any. gpu: its number as nvidia-smi shows it, or its UUID."""
    try:
        ask = import_module("dask_cuda.utils").get_cpu_affinity
    except ImportError:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where NVML does not know, dask-cuda warns and names all cores
            near = frozenset(ask(int(gpu) if gpu.isdecimal() else gpu))
    except Exception as error:  # of a library of others, and the evaluator runs without its answer
        say(f"which cores are near GPU {gpu} is not known ({error}); its evaluator may use any")
        return None
    return (near & os.sched_getaffinity(0)) or None
