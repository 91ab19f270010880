"""The evaluator in a process of its own, so that a native abort of llama.cpp fails one call and not the night.

The child is started by the first call, started again by the next one after it died, killed when a call runs out of
time or is abandoned (Ctrl-C, or an error raised by `progress`), and ends by itself when this process is gone. It
belongs to a session of its own: Ctrl-C in the terminal reaches this process only. Whatever llama.cpp prints goes to
an unnamed temporary file, whose tail is part of EngineCrash.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import IO, Any, cast

from evaluators.divergence import Score
from evaluators.engine_log import last_lines
from evaluators.errors import EngineCrash, EngineKilled, EngineTimeout, EvaluationError
from evaluators.evaluator import EngineInfo, Progress, TokenizedText
from evaluators.generation.settings import GenerationSettings
from evaluators.generation.transcript import AnyQuestion, Asked, Generation
from evaluators.imatrix import Collected
from evaluators.reference import Reference
from evaluators.settings import RuntimeSettings

_PACKAGE_PARENT = Path(__file__).resolve().parents[1]
CHILD_ENVIRONMENT = {
    "GGML_NO_BACKTRACE": "1",  # else llama.cpp attaches a debugger to itself before it aborts
    # Threads that spin long while they wait make an evaluation many times slower beside any other program; threads that
    # never spin make a step of a single token 3-17 times slower on an idle machine.
    **({} if "OMP_WAIT_POLICY" in os.environ else {"GOMP_SPINCOUNT": "1000"}),
}


@dataclass(frozen=True, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    connection: Connection
    log: IO[bytes]

    def log_tail(self) -> str:
        self.log.seek(max(0, os.fstat(self.log.fileno()).st_size - 65536))
        return last_lines(self.log.read().decode("utf-8", "replace"))

    def end(self, *, kill: bool) -> int:
        """Exit status; a child that is asked politely has five seconds."""
        self.connection.close()
        try:
            if kill:
                self.process.kill()
            return self.process.wait(timeout=None if kill else 5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
        finally:
            self.log.close()


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
        self._child: _Child | None = None
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
                    _ask_to_end(child, grace)
                finally:
                    self._discard()
                raise
        if kind == "error":
            raise value
        if kind == "failure":
            raise EvaluationError(f"the evaluator failed in {method}, which is a defect of this program:\n{value}")
        return value

    def _begin(self, method: str, arguments: dict[str, Any], wants_progress: bool) -> _Child:
        """The child that has begun. One that died between calls, idle, is nobody's failure: it is replaced."""
        for attempt in (1, 2):
            if self._killed:
                raise EvaluationError(f"{method}: this evaluator was ended and does nothing any more")
            if self._child is None or self._child.process.poll() is not None:
                self._discard()
                self._child = self._start()
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

    def _receive(self, child: _Child, method: str) -> tuple[str, Any]:
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

    def _start(self) -> _Child:
        ours, theirs = Pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the child)
        # Appending, so that the child may empty the file without leaving a hole.
        fcntl.fcntl(log, fcntl.F_SETFL, fcntl.fcntl(log, fcntl.F_GETFL) | os.O_APPEND)
        paths = [str(_PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        command = [sys.executable, "-m", "evaluators.child", str(theirs.fileno()), str(log.fileno()), str(os.getpid())]
        process = subprocess.Popen(
            [*command, str(self._idle_release)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs.fileno(), log.fileno()),
            start_new_session=True,
            env={**CHILD_ENVIRONMENT, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        theirs.close()
        ours.send(self._settings)
        return _Child(process, ours, log)

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
            f"llama.cpp ended its process in {method} ({_ending(status)}). The next call starts it again. "
            f"Its log ends:\n{tail}"
        )


def _ask_to_end(child: _Child, grace: float) -> None:
    """Tell a child at work that it may stop, and wait for its answer to the call, `grace` seconds at most."""
    if not grace:
        return
    deadline = time.monotonic() + grace
    try:
        child.connection.send("abandon")
        while child.connection.poll(max(0.0, deadline - time.monotonic())):
            if child.connection.recv()[0] != "progress":
                return
    except (OSError, EOFError):
        pass


def _ending(status: int) -> str:
    if status == -signal.SIGKILL:
        return "killed from outside; most often the machine ran out of memory"
    if status < 0:
        return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
