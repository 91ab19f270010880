"""`layerquant search`: run a study, or continue it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from optimizer.commands.options import (
    AllowRequantize,
    Bank,
    Bounds,
    Cluster,
    Database,
    Imatrix,
    ImatrixText,
    Pins,
    Studies,
    TlsCa,
    TlsCert,
    TlsKey,
    Workers,
    given,
    runtime_given,
    takes_runtime_flags,
)
from optimizer.commands.shown import err, out, print_json, show_report
from optimizer.commands.studies import status_object
from optimizer.config import SearchConfig, parse_assignment
from optimizer.named_files import find_file
from optimizer.progress import TerminalReporter
from optimizer.search.budget import show_bytes
from optimizer.search.constraints import constraints_from_flags
from optimizer.search.planning import Plan, make_plan
from optimizer.search.texts import choose_texts
from optimizer.settings import SAMPLERS
from optimizer.workplace import DEFAULT_STUDIES, Workplace

if TYPE_CHECKING:
    from optimizer.search.runner import Outcome

INTERRUPTED = 130
_SETTINGS = (
    "budget", "study", "search_text", "report_text", "prompts", "imatrix", "imatrix_text", "units", "types",
    "sensitivities", "trials", "hours", "sampler", "seed", "prune",
)  # fmt: skip
"""Options that are called as the setting that they change."""
_EXECUTION = ("workers", "cluster", "tls_ca", "tls_cert", "tls_key")


@takes_runtime_flags
def search(
    model_or_config: Annotated[str, typer.Argument(metavar="MODEL|CONFIG", help="A GGUF, or a YAML of settings.")],
    budget: Annotated[str | None, typer.Option(help="IQ4_XS, 17.9GB, 16.67GiB, 4.25bpw, A,B,… or LOW..HIGH.")] = None,
    study: Annotated[str | None, typer.Option(help="The study's name.")] = None,
    search_text: Annotated[str | None, typer.Option(help="Text to choose by.")] = None,
    report_text: Annotated[str | None, typer.Option(help="Text to report on; the search never sees it.")] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt suite, or none.")] = None,
    imatrix: Imatrix = None,
    imatrix_text: ImatrixText = None,
    units: Annotated[str | None, typer.Option(help="layers, groups or tensors.")] = None,
    types: Annotated[str | None, typer.Option(help="Layer types or tensor types, separated by commas.")] = None,
    pins: Pins = None,
    bounds: Bounds = None,
    sensitivities: Annotated[
        str | None, typer.Option("--sensitivities", help="CSV of a relative of this model, in place of probes.")
    ] = None,
    prune: Annotated[
        int | None,
        typer.Option("--prune", min=0, help="Layers that the file may leave out, at most; 0, the default: none."),
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Complete and pruned trials, baselines included.")] = None,
    hours: Annotated[
        float | None, typer.Option(min=0.0, help="Stop proposing after so long; the report follows.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=", ".join(SAMPLERS))] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds propose equally.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any setting: key=value.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Go on in the background, with a log file.")] = False,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
    allow_requantize: AllowRequantize = False,
    workers: Workers = None,
    cluster: Cluster = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    *,
    runtime: dict[str, Any],
) -> None:
    """Run a study, or continue it: the same command goes on where it was, after a stop, a kill or a power cut."""
    changes = settings_given(locals() | runtime)
    path = _config_path(model_or_config)
    if path is None:
        changes["model"] = model_or_config
    config = SearchConfig.load(path, changes)
    workplace = Workplace(studies, database, bank)
    if detach:
        plan = make_plan(_with_imatrix(config, workplace, path), beside=path)
        choose_texts(config, path)
        go_on_detached(workplace, study_name(plan))
        return
    run_study(config, workplace, path)


def settings_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that the options of `search` change, by their dotted keys; options that are None change nothing."""
    changes = given(**{name: options[name] for name in _SETTINGS})
    changes |= constraints_from_flags(options["pins"] or [], options["bounds"] or [])
    changes |= {f"evaluation.{name}": value for name, value in runtime_given(options).items()}
    changes |= {f"execution.{name}": value for name, value in given(**{n: options.get(n) for n in _EXECUTION}).items()}
    if options["allow_requantize"]:
        changes["quantization.allow_requantize"] = True
    return changes | dict(parse_assignment(text) for text in options["assignments"] or [])


def _config_path(name: str) -> Path | None:
    return find_file(name) if name.lower().endswith((".yaml", ".yml")) else None


def study_name(plan: Plan) -> str:
    """As set, else from the model's file, the budget and the units; safe as a file's name."""
    return study_name_of(plan.config, plan.model.paths[0].stem)


def study_name_of(config: SearchConfig, model_stem: str) -> str:
    made = config.study or f"{model_stem}-{config.budget}-{config.units}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", made).strip("-.") or "study"


def run_study(config: SearchConfig, workplace: Workplace, beside: Path | None, *, as_json: bool = False) -> None:
    from optimizer.execution.opening import open_scorer
    from optimizer.search.runner import run_search  # optuna and scipy: not for commands that only look

    plan = make_plan(_with_imatrix(config, workplace, beside), beside=beside)
    name = study_name(plan)
    reporter = TerminalReporter(err())
    try:
        for line in introduction(plan, name):
            reporter.line(line)
        with _interruptible(reporter) as interrupted:
            outcome = run_search(
                plan, workplace, reporter, interrupted, name=name, beside=beside,
                open_scorer=open_scorer(plan.config.execution),
            )  # fmt: skip
    finally:
        reporter.close()
    if as_json:
        with workplace.open_store() as store:
            print_json(status_object(store, outcome.study))
    else:
        show_outcome(outcome)
    if interrupted[0]:
        raise typer.Exit(INTERRUPTED)


def _with_imatrix(config: SearchConfig, workplace: Workplace, beside: Path | None) -> SearchConfig:
    """Ctrl-C ends it, with what was summed kept."""
    if config.imatrix != "auto":
        return config
    from optimizer.search.imatrix_auto import with_imatrix

    reporter = TerminalReporter(err())
    try:
        return with_imatrix(config, workplace, reporter, beside=beside)
    finally:
        reporter.close()


def introduction(plan: Plan, name: str) -> list[str]:
    """What is searched, in three lines, and a fourth where the trials end with the baselines."""
    model = plan.model
    budgets = ", ".join(f"{budget.text} = {budget.n_bytes:,} bytes" for budget in plan.budgets)
    title = model.name or model.paths[0].name
    types = ", ".join(plan.tensor_types)
    most = max(len(group) for group in plan.baselines.values())
    short = plan.config.trials <= most
    note = f"note: {plan.config.trials} trials are used up by the {most} baselines; nothing is searched without more"
    return [
        f"[bold]study {name}[/bold]: {escape(title)}, {model.n_layer} layers, {show_bytes(model.size_bytes)}",
        f"budget {budgets}; by {plan.config.units}: {len(plan.space.units)} units, types {types}",
        f"baselines: {', '.join(baseline.name for group in plan.baselines.values() for baseline in group)}",
        *([note] if short else []),
    ]


@contextmanager
def _interruptible(reporter: TerminalReporter) -> Iterator[list[bool]]:
    """Ctrl-C once ends the search after the evaluation under way, twice at once."""
    interrupted = [False]

    def handle(number: int, frame: object) -> None:
        if interrupted[0]:
            raise KeyboardInterrupt
        interrupted[0] = True
        reporter.line("[yellow]stopping after this evaluation; Ctrl-C again stops at once[/yellow]")

    before = {each: signal.signal(each, handle) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def show_outcome(outcome: "Outcome") -> None:
    """The final table and recipe, or how to go on."""
    console = out()
    report = outcome.study.report
    if not outcome.finished or report is None:
        console.print(f"study {outcome.study.name} is paused; the same command continues it")
        return
    show_report(report)


def go_on_detached(workplace: Workplace, name: str) -> None:
    folder = workplace.study_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "search.log"
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with log.open("ab") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "optimizer.cli", *arguments],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True, cwd=os.getcwd(),
        )  # fmt: skip
    out().print(f"study {name} runs in the background (process {child.pid}); its log is {log}")
    hint = f"{name} --studies {workplace.studies}"
    out().print(f"look at it: layerquant status {hint}; stop it: layerquant stop {hint}")
