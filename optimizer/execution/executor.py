"""The one way work is handed out, in the shape of concurrent.futures: `submit` gives a Future.

Whoever submits names the worker: the roster knows which are free, fit and near the shards (`roster`). Three kinds:
nodes in threads of this process, one or several (`local`), each with an evaluator process of its own, and the workers
of a Dask cluster (`cluster`).
"""

import socket
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Literal, Protocol

from evaluators.errors import EvaluationError
from optimizer.errors import EngineError, LayerquantError
from optimizer.execution.jobs import Job
from optimizer.execution.node import Node, WorkerFacts
from optimizer.execution.setup import StudySetup

Role = Literal["evaluate", "quantize"]
"""The abstract resources that a worker offers, one of each at most: one job at a time."""
EVALUATE: Role = "evaluate"
QUANTIZE: Role = "quantize"

Task = Callable[..., Any]
"""What is submitted: a function whose first argument will be the worker's node."""


class Executor(Protocol):
    def workers(self, role: Role) -> Mapping[str, str]:
        """The workers that are there now -> the host of each. Raises ClusterAway."""
        ...

    def load(self) -> Mapping[str, int]:
        """Worker -> jobs it has to do, of whatever search; workers without any may be left out."""
        ...

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        """Fails with WorkerLost when the worker ends before the job, with ClusterAway when nobody can tell."""
        ...

    def reconnect(self) -> None:
        """After ClusterAway: one attempt. Raises ClusterAway."""
        ...

    def abandon(self) -> None:
        """End what is under way."""
        ...

    def close(self) -> None: ...


def do_job(node: Node, setup: StudySetup, job: Job) -> object:
    """Errors that nobody foresaw are told with their traceback, from whatever machine."""
    try:
        return node.run(setup, job)
    except (LayerquantError, EvaluationError):
        raise
    except Exception:
        raise EngineError(
            f"worker on {socket.gethostname()} failed, which is a defect of this program:\n{traceback.format_exc()}"
        ) from None


def describe(node: Node, setup: StudySetup) -> WorkerFacts:
    return node.describe(setup)


def keep_file(node: Node, sha256: str, content: bytes) -> None:
    node.keep_file(sha256, content)
