"""`layerquant export`: taking a study's winner, or any trial, home."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from optimizer.commands.handover import FORMS, Handover, handover_text, open_handover, provenance
from optimizer.commands.options import Bank, Database, Studies, Study
from optimizer.commands.shown import err
from optimizer.commands.studies import existing_store, named_study
from optimizer.errors import ConfigError
from optimizer.progress import TerminalReporter
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.candidate import assemble, link_folder
from optimizer.quantization.join import quantize
from optimizer.text_files import make_folder, write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace


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
