"""`layerquant search`, `stop`, `resume`, `status`: run studies and look at them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from optimizer.commands.options import (
    AllowRequantize,
    Bank,
    Database,
    Imatrix,
    Json,
    OptionalStudy,
    Studies,
    given,
    takes_runtime_flags,
)
from optimizer.commands.shown import err, out, print_json, report_table
from optimizer.config import SAMPLERS, SearchConfig, find_file, parse_assignment
from optimizer.errors import ConfigError, StudyError
from optimizer.progress import TerminalReporter
from optimizer.search.budget import show_bytes
from optimizer.search.claiming import CONTENTS
from optimizer.search.planning import Plan, make_plan
from optimizer.search.report import best_trial
from optimizer.search.texts import choose_texts
from optimizer.store import Store, StudyRecord, TrialRecord
from optimizer.workplace import DEFAULT_STUDIES, Workplace

if TYPE_CHECKING:
    from optimizer.search.runner import Outcome

INTERRUPTED = 130


@takes_runtime_flags
def search(
    model_or_config: Annotated[str, typer.Argument(metavar="MODEL|CONFIG", help="A GGUF, or a YAML of settings.")],
    budget: Annotated[str | None, typer.Option(help="IQ4_XS, 17.9GB, 16.67GiB, 4.25bpw, A,B,… or LOW..HIGH.")] = None,
    study: Annotated[str | None, typer.Option(help="The study's name.")] = None,
    search_text: Annotated[str | None, typer.Option(help="Text to choose by.")] = None,
    report_text: Annotated[str | None, typer.Option(help="Text to report on; the search never sees it.")] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt suite, or none.")] = None,
    imatrix: Imatrix = None,
    units: Annotated[str | None, typer.Option(help="layers, groups or tensors.")] = None,
    types: Annotated[str | None, typer.Option(help="Layer types or tensor types, separated by commas.")] = None,
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
    *,
    runtime: dict[str, Any],
) -> None:
    """Run a study, or continue it: the same command goes on where it was, after a stop, a kill or a power cut."""
    changes: dict[str, Any] = given(
        budget=budget, study=study, search_text=search_text, report_text=report_text, prompts=prompts, imatrix=imatrix,
        units=units, types=types, trials=trials, hours=hours, sampler=sampler, seed=seed,
    )  # fmt: skip
    changes |= {f"evaluation.{key}": value for key, value in runtime.items()}
    if allow_requantize:
        changes["quantization.allow_requantize"] = True
    changes |= dict(parse_assignment(text) for text in assignments or [])
    path = _config_path(model_or_config)
    if path is None:
        changes["model"] = model_or_config
    config = SearchConfig.load(path, changes)
    _refuse_what_is_missing(config)
    workplace = Workplace(studies, database, bank)
    if detach:
        plan = make_plan(config, beside=path)
        choose_texts(config, path)
        _detach(workplace, study_name(plan))
        return
    _run(config, workplace, path)


def _config_path(name: str) -> Path | None:
    return find_file(name) if name.lower().endswith((".yaml", ".yml")) else None


def _refuse_what_is_missing(config: SearchConfig) -> None:
    if config.prompts not in (None, "none"):
        raise ConfigError("--prompts: prompt suites cannot be run yet; leave it out, or write --prompts none")


def study_name(plan: Plan) -> str:
    """As set, else from the model's file, the budget and the units; safe as a file's name."""
    made = plan.config.study or f"{plan.model.paths[0].stem}-{plan.config.budget}-{plan.config.units}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", made).strip("-.") or "study"


def _run(config: SearchConfig, workplace: Workplace, beside: Path | None, *, as_json: bool = False) -> None:
    from optimizer.search.runner import run_search  # optuna and scipy: not for commands that only look

    plan = make_plan(config, beside=beside)
    name = study_name(plan)
    reporter = TerminalReporter(err())
    try:
        for line in introduction(plan, name):
            reporter.line(line)
        with _interruptible(reporter) as interrupted:
            outcome = run_search(plan, workplace, reporter, interrupted, name=name, beside=beside)
    finally:
        reporter.close()
    if as_json:
        with workplace.open_store() as store:
            print_json(status_object(store, outcome.study))
    else:
        show_outcome(outcome)
    if interrupted[0]:
        raise typer.Exit(INTERRUPTED)


def introduction(plan: Plan, name: str) -> list[str]:
    """What is searched, in three lines."""
    model = plan.model
    budgets = ", ".join(f"{budget.text} = {budget.n_bytes:,} bytes" for budget in plan.budgets)
    title = model.name or model.paths[0].name
    types = ", ".join(plan.tensor_types)
    return [
        f"[bold]study {name}[/bold]: {escape(title)}, {model.n_layer} layers, {show_bytes(model.size_bytes)}",
        f"budget {budgets}; by {plan.config.units}: {len(plan.space.units)} units, types {types}",
        f"baselines: {', '.join(baseline.name for group in plan.baselines.values() for baseline in group)}",
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


def show_report(report: dict[str, Any] | Any) -> None:
    """Tables for people, one a budget, and the winner's LAYER_TYPES."""
    console = out()
    for each in report.get("fronts") or [report]:
        best = each["best"]
        console.print(report_table(each, report["model"], report["reference_perplexity"]))
        console.print(f"[bold]{each['verdict']}[/bold]")
        ratios = []
        for key, label in (
            ("interpolated_preset_kld", "stock presets"),
            ("interpolated_allowed_preset_kld", "presets of the allowed types"),
        ):
            if each[key]:
                ratios.append(f"{best['mean_kld'] / each[key]:.3f} x the KLD of {label} interpolated at these bytes")
        console.print("; ".join(ratios))
        console.print(f"noise floor (the reference against itself): {report['noise_floor_kld']:.2e} nats/token")
        console.print()
        if best["flags"]:
            print(f'FLAGS="{best["flags"]}"')
        print(f"LAYER_TYPES='{best['layer_types']}'")
        console.print()
    console.print(
        f"export it: layerquant export {report['study']} --as layer-types|tensor-type-file|command|gguf|folder|card"
    )


def _detach(workplace: Workplace, name: str) -> None:
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


def status(
    study: OptionalStudy = None, studies: Studies = DEFAULT_STUDIES, database: Database = None, as_json: Json = False
) -> None:
    """How a study stands, also while it runs; without a name, all studies."""
    with existing_store(Workplace(studies, database)) as store:
        records = store.studies() if study is None else [named_study(store, study)]
        shown = [status_object(store, each) for each in records]
        if as_json:
            print_json(shown[0] if study is not None else {"studies": shown})
            return
        console = out()
        if not shown:
            console.print(f"no studies in {studies}; start one with: layerquant search MODEL")
        table = Table(box=None, pad_edge=False)
        for column in ("study", "state", "phase", "trials", "best KLD", "bytes", "tokens", "ETA"):
            table.add_column(column)
        for each in shown:
            best = each["best"] or {}
            counts = each["trials"]
            done = f"{counts['complete'] + counts['pruned']}/{each['target_trials'] or '?'}"
            kld = f"{best['mean_kld']:.6f}" if best else ""
            size = f"{best['size_bytes']:,}" if best else ""
            eta = "" if each["eta_seconds"] is None else f"{each['eta_seconds']:.0f} s"
            table.add_row(
                each["study"], each["state"], each["phase"] or "", done, kld, size, f"{each['tokens_evaluated']:,}", eta
            )
        console.print(table)


def best_so_far(store: Store, record: StudyRecord) -> TrialRecord | None:
    """The best complete trial of a study; rivals of types that it may not use do not count."""
    rivals_only = (record.progress or {}).get("rivals_only", ())
    return best_trial(store.trials(record.id, ("complete",)), rivals_only, sys.maxsize)


def status_object(store: Store, record: StudyRecord) -> dict[str, Any]:
    """`status --json` of one study."""
    found, best = store.status(record.id), best_so_far(store, record)
    return {
        "study": found.study,
        "state": found.state,
        "holder": found.holder,
        "phase": found.phase,
        "trials": dict(found.trials),
        "target_trials": found.target_trials,
        "best": None
        if best is None
        else {
            "trial": best.number,
            "name": best.name,
            "size_bytes": best.size_bytes,
            "mean_kld": best.mean_kld,
            "mean_kld_standard_error": best.mean_kld_standard_error,
            "perplexity": best.perplexity,
            "layer_types": best.layer_types,
        },
        "eta_seconds": found.eta_seconds,
        "tokens_evaluated": found.tokens_evaluated,
        "stop_requested": found.stop_requested,
    }


def stop(
    study: OptionalStudy = None, studies: Studies = DEFAULT_STUDIES, database: Database = None, as_json: Json = False
) -> None:
    """Ask a running search to stop after the evaluation under way; everything measured is kept."""
    with existing_store(Workplace(studies, database)) as store:
        record = chosen_study(store, study)
        found = store.status(record.id)
        if found.state == "running":
            store.request_stop(record.id)
            name = record.name
            text = f"study {name} stops after the evaluation under way; `layerquant resume {name}` continues it"
        else:
            text = f"study {record.name} is not running ({found.state})"
        if as_json:
            print_json({"study": record.name, "state": found.state, "stop_requested": found.state == "running"})
        else:
            out().print(text)


def resume(
    study: OptionalStudy = None,
    trials: Annotated[int | None, typer.Option(min=1, help="A larger number continues a finished study.")] = None,
    hours: Annotated[float | None, typer.Option(min=0.0)] = None,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
    as_json: Json = False,
) -> None:
    """Continue a study by its name, with the settings it was started with."""
    workplace = Workplace(studies, database, bank)
    with existing_store(workplace) as store:
        record = chosen_study(store, study)
        kept = dict(record.config) | {"study": record.name} | given(trials=trials, hours=hours)
        kept.pop(CONTENTS, None)
    config = SearchConfig.load(None, kept)
    _run(config, workplace, None, as_json=as_json)


def existing_store(workplace: Workplace) -> Store:
    if workplace.database is None and not workplace.studies.is_dir():
        raise StudyError(f"{workplace.studies}: there are no studies; name their folder with --studies DIR")
    return workplace.open_store()


def chosen_study(store: Store, name: str | None) -> StudyRecord:
    """The study of this name; without one, the only study there is, or the only one that runs."""
    if name is not None:
        return named_study(store, name)
    found = store.studies()
    running = [each for each in found if store.status(each.id).state == "running"]
    for candidates in (found, running):
        if len(candidates) == 1:
            return candidates[0]
    raise StudyError(f"name a study; studies here: {', '.join(each.name for each in found) or 'none'}")


def named_study(store: Store, name: str) -> StudyRecord:
    found = store.find_study(name)
    if found is None:
        known = ", ".join(each.name for each in store.studies()) or "none"
        raise StudyError(f"there is no study {name}; studies here: {known}")
    return found


def finished_study(store: Store, name: str) -> StudyRecord:
    """The study, or StudyError when it is missing or has no report yet."""
    study = named_study(store, name)
    if study.report is None or study.state != "finished":
        raise StudyError(f"study {name} is not finished; continue it with the same `layerquant search` command")
    return study
