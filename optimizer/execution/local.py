"""Several evaluators on this machine: a thread for each, which waits for an evaluator process of its own."""

import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from optimizer.execution.executor import EVALUATE, Role, Task
from optimizer.execution.node import Node


class LocalExecutor:
    """`nodes`: one a worker."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = {str(number): node for number, node in enumerate(nodes)}
        self._pools = {name: ThreadPoolExecutor(1, thread_name_prefix=f"worker-{name}") for name in self._nodes}

    def workers(self, role: Role) -> Mapping[str, str]:
        host = socket.gethostname()
        return dict.fromkeys(self._nodes, host) if role == EVALUATE else {}

    def load(self) -> Mapping[str, int]:
        return {}

    def submit(self, task: Task, *arguments: object, worker: str, role: Role) -> "Future[Any]":
        return self._pools[worker].submit(task, self._nodes[worker], *arguments)

    def reconnect(self) -> None:
        """It was never away."""

    def abandon(self) -> None:
        for name, pool in self._pools.items():
            pool.shutdown(wait=False, cancel_futures=True)
            self._nodes[name].kill()

    def close(self) -> None:
        for name, pool in self._pools.items():
            pool.shutdown(cancel_futures=True)
            self._nodes[name].close()
