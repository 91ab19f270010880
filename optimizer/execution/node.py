"""A node: what a worker process keeps between jobs. One study at a time is open: model, shard bank, evaluator."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import psutil

from evaluators.evaluator import EngineInfo, Evaluator
from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.execution.jobs import Job
from optimizer.execution.models import find_model
from optimizer.execution.node_settings import NodeSettings, kept_file
from optimizer.execution.opened import OpenedStudy
from optimizer.execution.problems import WorkerRefused
from optimizer.execution.setup import StudySetup
from optimizer.quantization.open_files import raise_open_file_limit
from optimizer.quantization.storage import claimed
from optimizer.search.identity import show_engine


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker says of itself. threads: that an evaluator should use there. refusal: why it cannot take part."""

    host: str
    engine: EngineInfo | None
    threads: int
    refusal: str | None = None


class Node:
    """Not for several threads. `factory`: in place of the evaluator that the settings name."""

    def __init__(self, settings: NodeSettings, factory: Callable[[RuntimeSettings], Evaluator] | None = None) -> None:
        self.settings = settings
        self._factory = factory or _factory_of(settings.evaluator)
        self._evaluator: Evaluator | None = None
        self._opened: OpenedStudy | None = None
        self._engine: EngineInfo | None = None

    def run(self, setup: StudySetup, job: Job) -> object:
        """Raises what the job raises, WorkerRefused where this worker cannot take part, FileLacking."""
        if setup.engine is not None:
            found = self._engine_with(setup.settings)
            if found.identity != setup.engine:
                raise WorkerRefused(f"its engine is another ({show_engine(found)}); results of two do not compare")
        return job.run(self._open(setup))

    def describe(self, setup: StudySetup) -> WorkerFacts:
        """Without opening the study."""
        threads = self.settings.threads or psutil.cpu_count(logical=False) or 1
        try:
            find_model(setup, self.settings.models)
        except WorkerRefused as refusal:
            return WorkerFacts(socket.gethostname(), None, threads, str(refusal))
        return WorkerFacts(socket.gethostname(), self._engine_with(setup.settings), threads)

    def keep_file(self, sha256: str, content: bytes) -> None:
        """A text or an imatrix that the coordinator sent, under its digest."""
        with claimed(kept_file(self.settings, sha256)) as file:
            if file is not None:
                file.write(content)

    def kill(self) -> None:
        """End what is under way for good, from another thread: what waits for it fails."""
        if isinstance(self._evaluator, EvaluatorProcess):
            self._evaluator.kill()
        if self._opened is not None:
            self._opened.stop()

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        if self._evaluator is not None:
            self._evaluator.close()
            self._evaluator = None

    def _open(self, setup: StudySetup) -> OpenedStudy:
        if self._opened is None or self._opened.setup != setup:
            if self._opened is not None:
                self._opened.close()
                self._opened = None
            model = find_model(setup, self.settings.models)
            raise_open_file_limit()  # the evaluator's process inherits it
            self._opened = OpenedStudy.open(setup, model, self.settings, self._evaluator_with(setup.settings))
        return self._opened

    def _evaluator_with(self, settings: RuntimeSettings) -> Evaluator:
        if self._evaluator is None or self._evaluator.settings != settings:
            if self._evaluator is not None:
                self._evaluator.close()
            self._evaluator = self._factory(settings)
        return self._evaluator

    def _engine_with(self, settings: RuntimeSettings) -> EngineInfo:
        if self._engine is None:
            self._engine = self._evaluator_with(settings).engine()
        return self._engine


_lock = threading.Lock()
_of_process: list[Node] = []


def node_of_process() -> Node:
    """The node of a worker process, made by the first job from the process' environment."""
    with _lock:
        if not _of_process:
            _of_process.append(Node(NodeSettings.of_environment()))
        return _of_process[0]


def _factory_of(name: str) -> Callable[[RuntimeSettings], Evaluator]:
    module, _, attribute = name.partition(":")
    made: Any = getattr(import_module(module), attribute)
    found: Callable[[RuntimeSettings], Evaluator] = made
    return found
