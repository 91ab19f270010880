"""The `layerquant` command: Typer joins the commands, `main` turns every error into one line and an exit code."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

import typer

from evaluators.errors import EvaluationError
from optimizer.errors import LayerquantError

FAILURE, INTERRUPTED = 1, 130
EXIT_CODE_VARIABLE = "LAYERQUANT_EXIT_CODE_FILE"
"""Of the environment: where the exit code is written, for a service that was started anew and cannot wait for us."""
SERVER = "--server"
"""The option that has a running service do a command's work."""

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "plan": "plan.plan",
        "search": "search.search",
        "status": "studies.status",
        "stop": "studies.stop",
        "resume": "resume.resume",
        "trials": "results.trials",
        "report": "results.report",
        "export": "export.export",
        "quantize": "models.quantize",
        "eval": "evaluation.evaluate",
        "probe": "models.probe",
        "imatrix": "imatrix.imatrix",
        "prompts": "prompts.app",
        "serve": "serve.serve",
        "worker": "worker.worker",
        "db": "database.app",
        "doctor": "models.doctor",
    }
)
"""Command -> where it is found under `optimizer.commands`: a function, or an app of further commands."""


def make_app(wanted: str | None = None) -> typer.Typer:
    """The whole command line; or, for a command's name, that command alone, so that no other's modules are loaded."""
    app = typer.Typer(
        name="layerquant",
        help="Find the per-layer quantization types that lose the least at a given file size.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(lambda: None)  # an app of one command would take its name for an argument
    for name, place in COMMANDS.items():
        if wanted in COMMANDS and name != wanted:
            continue
        module, _, attribute = place.partition(".")
        command = getattr(import_module(f"optimizer.commands.{module}"), attribute)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors go to standard error, in one line each."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if any(word == SERVER or word.startswith(f"{SERVER}=") for word in words):
            _run_remotely(words)
        else:
            make_app(words[0] if words else None)(args=arguments)
    except (LayerquantError, EvaluationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as ended:  # how Typer ends, after showing what was wrong with the arguments
        return ended.code if isinstance(ended.code, int) else FAILURE if ended.code else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _run_remotely(words: Sequence[str]) -> None:
    from optimizer.service.client import Client  # and below: for this option alone
    from optimizer.service.remote import run_remotely, split_server

    url, rest = split_server(words)
    client = Client.of_environment(url or "")
    try:
        run_remotely(make_app(rest[0] if rest else None), rest, client)
    finally:
        client.close()


def main() -> None:
    signal.signal(signal.SIGINT, _interrupt)
    kept = os.environ.pop(EXIT_CODE_VARIABLE, None)
    code = FAILURE
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a service blocks it until somebody listens
        code = run()
    except SystemExit:  # interrupted before `run` or behind it
        code = INTERRUPTED
    finally:
        if kept is not None:
            with suppress(OSError):
                Path(kept).write_text(str(code), encoding="ascii")
    sys.exit(code)


def _interrupt(number: int, frame: object) -> None:
    print("interrupted", file=sys.stderr)
    raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    main()
