"""The evaluator in a process of its own, so that a native abort of llama.cpp fails one call and not the night.

The child is started by the first call, started again by the next one after it died, killed when a call runs out of
time or is abandoned (Ctrl-C, or an error raised by `progress`), and ends by itself when this process is gone. It
belongs to a session of its own: Ctrl-C in the terminal reaches this process only. Whatever llama.cpp prints goes to
an unnamed temporary file, whose tail is part of EngineCrash.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from evaluators.child_process import ChildProcess, ending
from evaluators.divergence import Score
from evaluators.errors import EngineCrash, EngineKilled, EngineTimeout, EvaluationError
from evaluators.evaluator import EngineInfo, Progress, TokenizedText
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Asked, Generation
from evaluators.imatrix import Collected
from evaluators.reference import Reference
from evaluators.settings import RuntimeSettings


class EvaluatorProcess:
    """Evaluator whose work happens in a child process; safe to call from several threads, one call at a time.

    `timeout` is the seconds a call may go without finishing, loading included, or reporting progress; None waits
    for ever. `idle_release` is the seconds after which the child lets go of a model nobody asks about.
    """

    def __init__(
        self, settings: RuntimeSettings | None = None, *, timeout: float | None = None, idle_release: float = 60.0
    ) -> None:
        self._settings = settings or RuntimeSettings()
        self._timeout = timeout
        self._idle_release = idle_release
        self._child: ChildProcess | None = None
        self._lock = threading.Lock()
        self._engine: EngineInfo | None = None
        self._killed = False

    @property
    def settings(self) -> RuntimeSettings:
        return self._settings

    @property
    def process_id(self) -> int | None:
        """Of the running child, if there is one."""
        child = self._child
        return child.process.pid if child is not None and child.process.poll() is None else None

    def engine(self) -> EngineInfo:
        if self._engine is None:
            self._engine = cast(EngineInfo, self._call("engine"))
        return self._engine

    def tokenize(self, model_paths: Sequence[Path], text: Path) -> TokenizedText:
        return cast(TokenizedText, self._call("tokenize", model_paths=list(model_paths), text=text))

    def build_reference(
        self,
        model_paths: Sequence[Path],
        text: Path,
        folder: Path,
        *,
        chunks: int | None,
        identity: str,
        progress: Progress | None = None,
    ) -> Reference:
        arguments = {"text": text, "folder": folder, "chunks": chunks, "identity": identity}
        self._call("build_reference", progress, model_paths=list(model_paths), **arguments)
        return Reference.open(folder)

    def score(
        self,
        candidate_paths: Sequence[Path],
        reference: Path,
        chunks: Sequence[int],
        progress: Progress | None = None,
        *,
        settings: RuntimeSettings | None = None,
    ) -> Score:
        arguments = {"reference": reference, "chunks": list(chunks), "settings": settings}
        return cast(Score, self._call("score", progress, candidate_paths=list(candidate_paths), **arguments))

    def write_base_file(
        self,
        model_paths: Sequence[Path],
        text: Path,
        path: Path,
        *,
        chunks: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._call("write_base_file", progress, model_paths=list(model_paths), text=text, path=path, chunks=chunks)

    def generate(
        self,
        model_paths: Sequence[Path],
        questions: Sequence[AnyQuestion],
        settings: GenerationSettings,
        drafts: Mapping[str, Sequence[int]] | None = None,
        progress: Progress | None = None,
    ) -> Generation:
        foretold = None if drafts is None else {name: [int(token) for token in drafts[name]] for name in drafts}
        arguments = {"questions": [Asked.of(each) for each in questions], "settings": settings, "drafts": foretold}
        return cast(Generation, self._call("generate", progress, model_paths=list(model_paths), **arguments))

    def collect_activations(
        self,
        model_paths: Sequence[Path],
        text: Path,
        path: Path,
        *,
        identity: str,
        chunks: int | None = None,
        process_output: bool = False,
        save_every: int = 10,
        progress: Progress | None = None,
    ) -> Collected:
        """A call that is abandoned (Ctrl-C) has ten seconds to end its batch and save; again, and it is killed."""
        arguments: dict[str, Any] = {"text": text, "path": path, "identity": identity, "chunks": chunks}
        arguments |= {"process_output": process_output, "save_every": save_every}
        report = progress or (lambda done, total: None)  # it is where the child hears of being abandoned
        return cast(
            Collected,
            self._call("collect_activations", report, 10.0, model_paths=list(model_paths), **arguments),
        )

    def block_influence(
        self, model_paths: Sequence[Path], text: Path, *, chunks: int, progress: Progress | None = None
    ) -> tuple[float, ...]:
        arguments = {"text": text, "chunks": chunks}
        found = self._call("block_influence", progress, model_paths=list(model_paths), **arguments)
        return cast(tuple[float, ...], found)

    def release(self) -> None:
        if self.process_id is not None:
            self._call("release")

    def close(self) -> None:
        with self._lock:
            if self._child is not None:
                self._child.end(kill=False)
                self._child = None

    def kill(self) -> None:
        """For good, from another thread than the one that waits for a call: that call fails, and all later ones."""
        self._killed = True
        child = self._child
        if child is not None:
            child.process.kill()

    def __enter__(self) -> EvaluatorProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, progress: Progress | None = None, grace: float = 0.0, /, **arguments: Any) -> Any:
        """`grace`: seconds that the child of an abandoned call has to save its work, from its next progress on."""
        with self._lock:
            child = self._begin(method, arguments, progress is not None)
            try:
                kind, value = self._receive(child, method)
                while kind == "progress":
                    if progress is not None:
                        progress(*value)
                    kind, value = self._receive(child, method)
            except EOFError:
                raise self._crash(method) from None
            except BaseException:
                # Abandoned in the middle: whatever the child would still answer belongs to no one.
                try:
                    child.ask_to_end(grace)
                finally:
                    self._discard()
                raise
        if kind == "error":
            raise value
        if kind == "failure":
            raise EvaluationError(f"the evaluator failed in {method}, which is a defect of this program:\n{value}")
        return value

    def _begin(self, method: str, arguments: dict[str, Any], wants_progress: bool) -> ChildProcess:
        """The child that has begun. One that died between calls, idle, is nobody's failure: it is replaced."""
        for attempt in (1, 2):
            if self._killed:
                raise EvaluationError(f"{method}: this evaluator was ended and does nothing any more")
            if self._child is None or self._child.process.poll() is not None:
                self._discard()
                self._child = ChildProcess.start(self._settings, self._idle_release)
            try:
                self._child.connection.send((method, arguments, wants_progress))
                self._receive(self._child, method)
                return self._child
            except (OSError, EOFError):
                if attempt == 2:
                    raise self._crash(method) from None
                self._discard()
            except BaseException:
                self._discard()
                raise
        raise AssertionError("unreachable")

    def _receive(self, child: ChildProcess, method: str) -> tuple[str, Any]:
        """The child's next message. Raises EOFError when there will be none, EngineTimeout when it takes too long."""
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while not child.connection.poll(0.5 if deadline is None else max(0.0, min(0.5, deadline - time.monotonic()))):
            if deadline is not None and time.monotonic() >= deadline:
                raise EngineTimeout(
                    f"llama.cpp gave no sign of life for {self._timeout:g} seconds in {method} and was stopped; "
                    f"allow more time, or use a smaller model or chunk. Its log ends:\n{child.log_tail()}"
                )
        try:
            message: tuple[str, Any] = child.connection.recv()
        except ConnectionResetError:
            raise EOFError from None
        return message

    def _discard(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.end(kill=True)

    def _crash(self, method: str) -> EngineCrash:
        child, self._child = self._child, None
        if child is None:
            return EngineCrash(f"llama.cpp's process could not be started for {method}")
        child.process.wait()
        tail = child.log_tail()
        status = child.end(kill=True)
        kind = EngineKilled if status == -signal.SIGKILL else EngineCrash
        return kind(
            f"llama.cpp ended its process in {method} ({ending(status)}). The next call starts it again. "
            f"Its log ends:\n{tail}"
        )
