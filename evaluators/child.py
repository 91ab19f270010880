"""The evaluator's child process: `python -m evaluators.child CONNECTION LOG PARENT IDLE`, see evaluators.process.

Reads (method, arguments, wants progress) from the connection and answers ("begun", None), then ("progress",
(done, total)) for each chunk (of answers: every few steps), and at the end ("result", value), ("error",
EvaluationError) or ("failure", traceback). The first message is the settings. A message during a call abandons it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from evaluators.errors import EvaluationError
from evaluators.evaluator import Progress


class _Abandoned(BaseException):
    """The parent no longer wants what is being done: the one thing that it says during a call."""


def serve(connection: Connection, log_descriptor: int, idle_seconds: float) -> None:
    """Answer until the connection closes. A model that nobody asks about for a while is let go."""
    # Imported here: it takes a second, and what fails in it must reach the log, not be lost before main() is set up.
    from evaluators.in_process import InProcessEvaluator
    from evaluators.runtime import log

    log.write_to(log_descriptor)
    evaluator = InProcessEvaluator(connection.recv())
    while True:
        if not connection.poll(idle_seconds):
            evaluator.release()
        try:
            method, arguments, wants_progress = connection.recv()
        except EOFError:
            evaluator.close()
            return
        connection.send(("begun", None))
        if wants_progress:
            arguments = {**arguments, "progress": _reporter(connection)}
        connection.send(_answer(evaluator, method, arguments))


def _answer(evaluator: Any, method: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    try:
        return "result", getattr(evaluator, method)(**arguments)
    except EvaluationError as error:
        return "error", error
    except _Abandoned as error:
        return "error", EvaluationError(str(error))
    except Exception:
        return "failure", traceback.format_exc()


def _reporter(connection: Connection) -> Progress:
    def report(done: int, total: int) -> None:
        if connection.poll():
            connection.recv()
            raise _Abandoned("the call was abandoned")
        connection.send(("progress", (done, total)))

    return report


def _end_with_parent(parent: int) -> None:
    # Not PR_SET_PDEATHSIG: that fires when the thread that started this process ends, which may be a worker's.
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def main() -> None:
    connection_descriptor, log_descriptor, parent = (int(word) for word in sys.argv[1:4])
    # Ctrl-C is the parent's to handle: it decides whether a chunk is finished or thrown away.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(parent,), daemon=True).start()
    status = 0
    try:
        serve(Connection(connection_descriptor), log_descriptor, float(sys.argv[4]))
    except (BrokenPipeError, ConnectionResetError, EOFError):
        pass
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)  # llama.cpp's static destructors log into an interpreter that is already gone


if __name__ == "__main__":
    main()
