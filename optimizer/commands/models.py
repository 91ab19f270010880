"""`layerquant quantize`, `probe`, `doctor`: single steps on single models."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from optimizer.commands.options import (
    AllowRequantize,
    Bank,
    Database,
    EmbeddingType,
    Imatrix,
    ImatrixText,
    Json,
    LayerTypesOption,
    Model,
    OutputType,
    PruneLayers,
    Studies,
    Threads,
    given,
    takes_runtime_flags,
)
from optimizer.commands.recipes_given import flags_given, recipe_from_file, recipe_from_layer_types_option
from optimizer.commands.shown import err, print_json, show_checks
from optimizer.config import SearchConfig, parse_assignment
from optimizer.doctor import examine
from optimizer.errors import ConfigError, GgufError
from optimizer.gguf.provenance import build_block
from optimizer.progress import TerminalReporter
from optimizer.quantization.imatrix_pairs import with_imatrix_pairs
from optimizer.quantization.join import quantize as write_quantized
from optimizer.recipes.presets import load_presets
from optimizer.recipes.sizes import SizeTable
from optimizer.search.planning import make_plan, open_imatrix
from optimizer.search.sensitivity_table import FORMATS, LAYERQUANT, WHOLE_MODEL, SensitivityTable
from optimizer.search.sensitivity_writing import own_table, tool_suite_curve, tool_suite_table
from optimizer.sources import open_model
from optimizer.text_files import write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace

if TYPE_CHECKING:
    from optimizer.search.probe_run import ProbeOutcome


def quantize(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The GGUF to write.")],
    layer_types: LayerTypesOption = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A tensor-type file, LAYER_TYPES, or a preset's name.")
    ] = None,
    token_embedding_type: EmbeddingType = None,
    output_tensor_type: OutputType = None,
    prune_layers: PruneLayers = None,
    imatrix: Imatrix = None,
    plain: Annotated[bool, typer.Option("--plain", help="Leave layerquant's metadata block out.")] = False,
    threads: Threads = None,
    allow_requantize: AllowRequantize = False,
) -> None:
    """Write a GGUF from LAYER_TYPES, a tensor-type file or a preset; equal to llama-quantize's tensors bit for bit."""
    if (layer_types is None) == (recipe is None):
        raise ConfigError("give either --layer-types or --recipe")
    file = open_model(model)
    if file.quantized_source and not allow_requantize:
        raise GgufError(
            f"{model} is already quantized; start from its F16, BF16 or F32 file, or add --allow-requantize"
        )
    importance = open_imatrix(imatrix, file)
    file = with_imatrix_pairs(file, importance)
    presets = load_presets(file, imatrix=importance is not None)
    flags = flags_given(token_embedding_type, output_tensor_type, prune_layers)
    if layer_types is not None:
        resolved = recipe_from_layer_types_option(layer_types, flags, file, presets)
    else:
        resolved = recipe_from_file(recipe or "", flags, file, presets)
    if resolved.recipe.pruned_layers:
        err().print(f"note: without layers {', '.join(map(str, resolved.recipe.pruned_layers))} of {file.n_layer}")
    for note in resolved.notes:
        err().print(f"note: {note}")
    for tensor, (wanted, got) in resolved.fallbacks.items():
        err().print(f"note: {tensor}: rows do not fit {wanted}, so it gets {got}")
    block = None
    if not plain:
        fields = {"made_by": "layerquant", "source_name": file.name, "source": file.fingerprint[:16]}
        block = build_block(resolved.recipe.tensor_types, presets.quantizable, fields)
    reporter = TerminalReporter(err())
    reporter.phase("quantizing", SizeTable(file, presets.quantizable).file_size(resolved.recipe, plain=plain))
    try:
        write_quantized(
            file, resolved.recipe, presets.quantizable, output, imatrix=importance, provenance=block, threads=threads,
            allow_requantize=allow_requantize, progress=lambda done, _: reporter.advance(done),
        )  # fmt: skip
    finally:
        reporter.close()
    err().print(f"written: {escape(str(output))}, {output.stat().st_size:,} bytes")


@takes_runtime_flags
def probe(
    model: Model,
    csv_out: Annotated[Path | None, typer.Option("--csv", help="Write the sensitivities to this file.")] = None,
    csv_in: Annotated[
        Path | None,
        typer.Option("--csv-in", "--from-csv", help="Take sensitivities from this file: ours, or kld_results.csv."),
    ] = None,
    csv_format: Annotated[
        str, typer.Option("--csv-format", help="Form of --csv: layerquant, or tool-suite for GGUF-Tool-Suite's.")
    ] = LAYERQUANT,
    budget: Annotated[str | None, typer.Option(help="Only matters where the source exceeds memory.")] = None,
    units: Annotated[str, typer.Option(help="layers, groups or tensors.")] = "groups",
    types: Annotated[str | None, typer.Option(help="Types whose cost is wanted.")] = None,
    search_text: Annotated[str | None, typer.Option("--search-text", "--text", help="Text to probe on.")] = None,
    imatrix: Imatrix = None,
    imatrix_text: ImatrixText = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Chunks a probe.")] = None,
    assignments: Annotated[list[str] | None, typer.Option("--set", help="Any setting: key=value.")] = None,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    bank: Bank = None,
    allow_requantize: AllowRequantize = False,
    as_json: Json = False,
    *,
    runtime: dict[str, Any],
) -> None:
    """Measure how sensitive each part of a model is, and what each type costs; kept and reused by every search."""
    from optimizer.search.imatrix_auto import with_imatrix
    from optimizer.search.probe_run import probe_only  # optuna and scipy: not for commands that only look

    changes: dict[str, Any] = {"model": str(model)} | given(
        budget=budget,
        units=units,
        types=types,
        search_text=search_text,
        imatrix=imatrix,
        imatrix_text=imatrix_text,
    )
    if chunks is not None:
        changes |= {"evaluation.chunks": chunks, "evaluation.probe_chunks": chunks}
    changes |= {f"evaluation.{key}": value for key, value in runtime.items()}
    if allow_requantize:
        changes["quantization.allow_requantize"] = True
    changes |= dict(parse_assignment(text) for text in assignments or [])
    if csv_format not in FORMATS:
        raise ConfigError(f"--csv-format {csv_format!r} is not known; write one of {', '.join(FORMATS)}")
    config, workplace = SearchConfig.load(None, changes), Workplace(studies, database, bank)
    table = SensitivityTable.read(csv_in) if csv_in else None
    reporter = TerminalReporter(err())
    try:
        plan = make_plan(with_imatrix(config, workplace, reporter))
        outcome = probe_only(plan, workplace, reporter, table)
    finally:
        reporter.close()
    if csv_out is not None:
        _write_sensitivities(csv_out, outcome, csv_format)
    if as_json:
        print_json({"model": str(model), "sensitivities": outcome.rows})
    elif csv_out is None:
        print(own_table(outcome.rows), end="")


def _write_sensitivities(path: Path, outcome: "ProbeOutcome", form: str) -> None:
    """The table, and in GGUF-Tool-Suite's form the whole models' beside it as group0/, where that suite has them."""
    if form == LAYERQUANT:
        written = {path: own_table(outcome.rows)}
    else:
        written = {
            path: tool_suite_table({outcome.probe_type: outcome.group_klds}, outcome.tensors),
            path.parent / WHOLE_MODEL / path.name: tool_suite_curve(outcome.fitted.curve),
        }
    for file, text in written.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
        err().print(f"written: {escape(str(file))}")


def doctor(studies: Studies = DEFAULT_STUDIES, as_json: Json = False) -> None:
    """Check this machine: library, CPU features, GPU, memory, disk, open files; exit code 1 when a check fails."""
    checks = [asdict(check) for check in examine(studies)]
    if as_json:
        print_json({"checks": checks})
    else:
        show_checks(checks)
    if any(check["state"] == "fail" for check in checks):
        raise typer.Exit(1)
