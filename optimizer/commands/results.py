"""`layerquant trials`, `report`, `export`: what a study found, and taking it home."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from optimizer.commands.options import Bank, Database, Json, Studies, Study
from optimizer.commands.shown import err, out, print_json, show_report
from optimizer.commands.studies import existing_store, finished_study, named_study
from optimizer.errors import ConfigError, StudyError
from optimizer.export.layer_types_text import layer_types_text
from optimizer.export.model_card import model_card
from optimizer.export.quantize_command import quantize_command
from optimizer.export.report_page import report_page
from optimizer.export.report_view import Report
from optimizer.export.tensor_type_file import tensor_type_file
from optimizer.gguf.provenance import build_block
from optimizer.progress import TerminalReporter
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.candidate import assemble, link_folder
from optimizer.quantization.join import quantize
from optimizer.recipes.recipe import Recipe
from optimizer.search.best import (
    PROMPTS_SOLVED,
    PROMPTS_TOTAL,
    best_of_study,
    kept_out,
    only_lucky,
    prompts_solved,
    winners,
)
from optimizer.search.claiming import kept_config
from optimizer.search.planning import Plan, make_plan
from optimizer.store import Store, StudyRecord, TrialRecord
from optimizer.text_files import make_folder, write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace

FORMS = ("layer-types", "tensor-type-file", "command", "gguf", "folder", "card")


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
                "trials": [_trial_object(trial) for trial in found],
            }
        )
        return
    table = Table(box=None, pad_edge=False)
    asked = any(prompts_solved(trial) is not None for trial in found)
    for column in (
        "trial", "state", "recipe", "bytes", "KLD (nats/token)", "PPL", "chunks", "predicted", "tokens",
        *(["solved"] if asked else []),
    ):  # fmt: skip
        right = column in ("trial", "bytes", "PPL", "chunks", "predicted", "tokens", "solved")
        table.add_column(column, justify="right" if right else "left", no_wrap=column == "solved")
    best = best_of_study(record, found)
    for trial in found:
        kld = "" if trial.mean_kld is None else f"{trial.mean_kld:.6f} ± {trial.mean_kld_standard_error or 0:.6f}"
        predicted = "" if trial.predicted_kld is None else f"{trial.predicted_kld:.6f}"
        damage = kld or escape(trial.error or "")
        perplexity = f"{trial.perplexity:.4f}" if trial.perplexity else ""
        style = "bold green" if trial is best else "dim" if trial.state != "complete" else None
        name, n_bytes = trial.name or trial.origin, f"{trial.size_bytes:,}"
        chunks, tokens = str(trial.chunks_scored), f"{trial.tokens_spent:,}"
        state = trial.state if kept_out(trial) is None else "kept out"
        cells = (str(trial.number), state, name, n_bytes, damage, perplexity, chunks, predicted, tokens)
        table.add_row(*cells, *([prompts_solved(trial) or ""] if asked else []), style=style)
    out().print(table)
    spent = sum(trial.tokens_spent for trial in found)
    out().print(f"tokens evaluated: {spent:,} by these trials, {record.tokens_evaluated:,} by the study")


def _trial_object(trial: TrialRecord) -> dict[str, Any]:
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
        recipes = [_recipe_of(store, record, each["best"]["trial"]).kept_types for each in _fronts(document)]
    if html is not None:
        write_text(html, report_page(Report.from_json(document), recipes))
        err().print(f"written: {html}")
    if as_json:
        print_json(document)
    elif html is None:
        show_report(document)


def _fronts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return document.get("fronts") or [document]


def _recipe_of(store: Store, study: StudyRecord, number: int) -> Recipe:
    return Recipe(store.recipe(store.trial(study.id, number).recipe_id).tensor_types)


@dataclass(frozen=True)
class Exported:
    """A trial to hand over, with all it needs."""

    plan: Plan
    study: StudyRecord
    trial: TrialRecord
    recipe: Recipe
    bank: Path


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
        if trial is None:
            numbers = winners(record.report)
            found = store.trial(record.id, numbers[0]) if numbers else best_of_study(record, store.trials(record.id))
            if found is None:
                raise StudyError(f"study {study} has no complete trial yet; continue the search")
        else:
            found = store.trial(record.id, trial)
        recipe = Recipe(store.recipe(found.recipe_id).tensor_types)
    config = kept_config(record)
    exported = Exported(make_plan(config), record, found, recipe, workplace.bank_folder)
    if form == "gguf":
        _export_gguf(exported, output or workplace.study_folder(study) / f"{study}-trial{found.number}.gguf")
    elif form == "folder":
        _export_folder(exported, output or workplace.study_folder(study) / f"trial{found.number}", study)
    else:
        text = _text(exported, form)
        if output is None:
            print(text, end="" if text.endswith("\n") else "\n")
        else:
            write_text(output, text)
            err().print(f"written: {output}")


def _text(exported: Exported, form: str) -> str:
    plan, recipe = exported.plan, exported.recipe
    if form == "layer-types":
        trial = exported.trial
        kld = "" if trial.mean_kld is None else f", search KLD {trial.mean_kld:.6f} nats/token"
        comments = [f"layerquant study {exported.study.name}, trial {trial.number}: {trial.size_bytes:,} bytes{kld}"]
        return layer_types_text(plan.layer_types(recipe), comments)
    if form == "tensor-type-file":
        return tensor_type_file(recipe, plan.model)
    imatrix = plan.imatrix.path if plan.imatrix else None
    out_name = Path(f"{exported.study.name}.gguf")
    command = quantize_command(recipe, plan.model, out_name, imatrix=imatrix)
    if form == "command":
        return command
    if exported.study.report is None:
        raise StudyError(
            f"study {exported.study.name} has no report yet, and a model card needs one; continue the search"
        )
    view = Report.from_json(exported.study.report)
    front = next((each for each in view.fronts if each.trial == exported.trial.number), None)
    if front is None:
        raise ConfigError(
            f"trial {exported.trial.number} is no winner of this study; a model card is written for winners only"
        )
    shared = quantize_command(
        recipe,
        plan.model,
        out_name,
        source=Path(plan.model.paths[0].name),
        imatrix=Path(imatrix.name) if imatrix else None,
    )
    return model_card(view, front, tensor_types=recipe.kept_types, command=shared)


def provenance(exported: Exported) -> str | None:
    """The metadata block of an exported file; None where it would push the file over its budget (a stock preset)."""
    plan, trial = exported.plan, exported.trial
    if trial.budget_bytes is not None and plan.sizes.file_size(exported.recipe, plain=False) > trial.budget_bytes:
        return None
    fields = {
        "made_by": "layerquant",
        "source_name": plan.model.name,
        "source": plan.model.fingerprint[:16],
        "study": exported.study.name,
        "trial": trial.number,
        "budget_bytes": trial.budget_bytes,
        "metrics": {
            "search_mean_kld": trial.mean_kld,
            "standard_error": trial.mean_kld_standard_error,
            "perplexity": trial.perplexity,
        },
        "imatrix": plan.imatrix.path.name if plan.imatrix else None,
    }
    return build_block(exported.recipe.tensor_types, plan.presets.quantizable, fields)


def _export_gguf(exported: Exported, output: Path) -> None:
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
    err().print(f"written: {output}, {output.stat().st_size:,} bytes")


def _export_folder(exported: Exported, folder: Path, name: str) -> None:
    plan = exported.plan
    bank = ShardBank(exported.bank, allow_requantize=plan.config.quantization.allow_requantize)
    with assemble(plan.model, exported.recipe, plan.presets.quantizable, bank, plan.imatrix) as candidate:
        first = link_folder(candidate, folder, name)
    err().print(
        f"written: {first} and {len(candidate.paths) - 1} files beside it; give the first one to llama.cpp's tools"
    )
