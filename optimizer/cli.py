"""The `layerquant` command: Typer joins the commands, `main` turns every error into one line and an exit code."""

import signal
import sys
from collections.abc import Sequence

import typer

from evaluators.errors import EvaluationError
from optimizer.commands import evaluation, models, plan, prompts, results, search, studies
from optimizer.errors import LayerquantError

FAILURE, INTERRUPTED = 1, 130

app = typer.Typer(
    name="layerquant",
    help="Find the per-layer quantization types that lose the least at a given file size.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("plan")(plan.plan)
app.command("search")(search.search)
app.command("status")(studies.status)
app.command("stop")(studies.stop)
app.command("resume")(search.resume)
app.command("trials")(results.trials)
app.command("report")(results.report)
app.command("export")(results.export)
app.command("quantize")(models.quantize)
app.command("eval")(evaluation.evaluate)
app.command("probe")(models.probe)
app.add_typer(prompts.app, name="prompts")
app.command("doctor")(models.doctor)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Errors go to standard error, in one line each."""
    try:
        app(args=arguments)
    except (LayerquantError, EvaluationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except SystemExit as ended:  # how Typer ends, after showing what was wrong with the arguments
        return ended.code if isinstance(ended.code, int) else FAILURE if ended.code else 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def main() -> None:
    signal.signal(signal.SIGINT, _interrupt)
    sys.exit(run())


def _interrupt(number: int, frame: object) -> None:
    print("interrupted", file=sys.stderr)
    raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    main()
