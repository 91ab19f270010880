"""`layerquant trials`, `report`, `export`: what a study found, and taking it home."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from optimizer.commands.handover import FORMS, Handover, handover_text, open_handover, provenance
from optimizer.commands.options import Bank, Database, Json, Studies, Study
from optimizer.commands.shown import err, print_json, show_report
from optimizer.commands.studies import existing_store, finished_study, named_study
from optimizer.commands.trials_shown import show_trials
from optimizer.errors import ConfigError
from optimizer.export.answers import Answers, Named, show_answers
from optimizer.export.report_page import report_page
from optimizer.export.report_view import Report
from optimizer.progress import TerminalReporter
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.candidate import assemble, link_folder
from optimizer.quantization.join import quantize
from optimizer.recipes.recipe import Recipe
from optimizer.search.behaviour_report import SOURCE, WINNER
from optimizer.search.best import (
    PROMPTS_SOLVED,
    PROMPTS_TOTAL,
    best_of_study,
    kept_out,
    only_lucky,
)
from optimizer.search.reported_answers import asked_suite, reported_answers
from optimizer.store import Store, StudyRecord, TrialRecord
from optimizer.text_files import make_folder, write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace


def trials(
    study: Study,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV table.")] = False,
) -> None:
    """Every trial of a study, in the order they ran."""
    with existing_store(Workplace(studies, database)) as store:
        record = named_study(store, study)
        if as_csv:
            print(store.trials_frame(record.id).to_csv(index=False), end="")
            return
        found = store.trials(record.id)
    if as_json:
        print_json(
            {
                "study": study,
                "tokens_evaluated": record.tokens_evaluated,
                "trials": [trial_object(trial) for trial in found],
            }
        )
        return
    best = best_of_study(record, found)
    shown = [trial_object(trial) for trial in found]
    show_trials(shown, None if best is None else best.number, record.tokens_evaluated)


def trial_object(trial: TrialRecord) -> dict[str, Any]:
    """One of `trials --json`."""
    return {
        "number": trial.number,
        "state": trial.state,
        "name": trial.name,
        "origin": trial.origin,
        "size_bytes": trial.size_bytes,
        "budget_bytes": trial.budget_bytes,
        "mean_kld": trial.mean_kld,
        "mean_kld_standard_error": trial.mean_kld_standard_error,
        "perplexity": trial.perplexity,
        "predicted_kld": trial.predicted_kld,
        "predicted_kld_standard_error": trial.predicted_kld_standard_error,
        "chunks_scored": trial.chunks_scored,
        "tokens_spent": trial.tokens_spent,
        "layer_types": trial.layer_types,
        "prompts_solved": (trial.metrics or {}).get(PROMPTS_SOLVED),
        "prompts_total": (trial.metrics or {}).get(PROMPTS_TOTAL),
        "kept_out": kept_out(trial),
        "luck": only_lucky(trial),
        "error": trial.error,
    }


def report(
    study: Study,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures to this file.")] = None,
) -> None:
    """The final table, on report text. It only reads; an unfinished study ends with exit code 1."""
    with existing_store(Workplace(studies, database)) as store:
        record = finished_study(store, study)
        document = dict(record.report or {})
        page = None if html is None else page_of_report(store, record)
    if html is not None and page is not None:
        write_text(html, page)
        err().print(f"written: {escape(str(html))}")
    if as_json:
        print_json(document)
    elif html is None:
        show_report(document)


def page_of_report(store: Store, study: StudyRecord) -> str:
    """What `--html` writes for a finished study."""
    document = dict(study.report or {})
    recipes = [_recipe_of(store, study, each["best"]["trial"]).kept_types for each in _fronts(document)]
    answers = [_answers(store, study, each) for each in _fronts(document)]
    return report_page(Report.from_json(document), recipes, answers)


def _answers(store: Store, study: StudyRecord, front: dict[str, Any]) -> Answers | None:
    """The winner's beside the source's and the best preset's; None where the database has them no more."""
    found = reported_answers(store, study, front)
    if SOURCE not in found or WINNER not in found:
        return None
    names = {row["kind"]: str(row["name"]) for row in front["prompts"]["rows"]}
    named = {kind: Named(names[kind], result) for kind, result in found.items()}
    source, winner = named.pop(SOURCE), named.pop(WINNER)
    return show_answers(winner, source, tuple(named.values()), asked_suite(study, front))


def _fronts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("fronts") or [document]


def _recipe_of(store: Store, study: StudyRecord, number: int) -> Recipe:
    return Recipe(store.recipe(store.trial(study.id, number).recipe_id).tensor_types)


def export(
    study: Study,
    form: Annotated[str, typer.Option("--as", help=", ".join(FORMS))],
    trial: Annotated[int | None, typer.Option(help="A trial's number; by default the winner.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File or folder to write.")] = None,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
) -> None:
    """Hand over the winner, or any trial: as text on standard output, or as a file with -o."""
    if form not in FORMS:
        raise ConfigError(f"--as {form}: known are {', '.join(FORMS)}")
    workplace = Workplace(studies, database, bank)
    with existing_store(workplace) as store:
        record = named_study(store, study)
        found = open_handover(store, record, trial, workplace)
    if form == "gguf":
        _export_gguf(found, output or workplace.study_folder(study) / f"{study}-trial{found.trial.number}.gguf")
    elif form == "folder":
        _export_folder(found, output or workplace.study_folder(study) / f"trial{found.trial.number}", study)
    else:
        text = handover_text(found, form)
        if output is None:
            print(text, end="" if text.endswith("\n") else "\n")
        else:
            write_text(output, text)
            err().print(f"written: {escape(str(output))}")


def _export_gguf(exported: Handover, output: Path) -> None:
    plan = exported.plan
    make_folder(output.parent)
    block = provenance(exported)
    reporter = TerminalReporter(err())
    reporter.phase("writing GGUF", plan.sizes.file_size(exported.recipe, plain=block is None))
    try:
        quantize(
            plan.model, exported.recipe, plan.presets.quantizable, output,
            bank=ShardBank(exported.bank, allow_requantize=plan.config.quantization.allow_requantize),
            imatrix=plan.imatrix, provenance=block, allow_requantize=plan.config.quantization.allow_requantize,
            progress=lambda done, _: reporter.advance(done),
        )  # fmt: skip
    finally:
        reporter.close()
    err().print(f"written: {escape(str(output))}, {output.stat().st_size:,} bytes")


def _export_folder(exported: Handover, folder: Path, name: str) -> None:
    plan = exported.plan
    bank = ShardBank(exported.bank, allow_requantize=plan.config.quantization.allow_requantize)
    with assemble(plan.model, exported.recipe, plan.presets.quantizable, bank, plan.imatrix) as candidate:
        first = link_folder(candidate, folder, name)
    err().print(
        f"written: {first} and {len(candidate.paths) - 1} files beside it; give the first one to llama.cpp's tools"
    )
