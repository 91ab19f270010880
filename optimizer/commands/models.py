"""`layerquant quantize`, `eval`, `probe`, `doctor`: single steps on single models."""

import csv
import io
import math
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.commands.options import (
    AllowRequantize,
    Bank,
    Database,
    EmbeddingType,
    Imatrix,
    Json,
    LayerTypesOption,
    Model,
    OutputType,
    Studies,
    Threads,
    given,
    takes_runtime_flags,
)
from optimizer.commands.recipes_given import flags_given, recipe_from_file, recipe_from_layer_types_option
from optimizer.commands.shown import err, out, print_json
from optimizer.config import SearchConfig, find_file, parse_assignment
from optimizer.doctor import examine
from optimizer.errors import ConfigError, GgufError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.provenance import build_block
from optimizer.progress import TerminalReporter
from optimizer.quantization.join import quantize as write_quantized
from optimizer.recipes.presets import load_presets
from optimizer.recipes.sizes import SizeTable
from optimizer.search.planning import make_plan, open_imatrix
from optimizer.text_files import write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace


def quantize(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="The GGUF to write.")],
    layer_types: LayerTypesOption = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", help="A tensor-type file, LAYER_TYPES, or a preset's name.")
    ] = None,
    token_embedding_type: EmbeddingType = None,
    output_tensor_type: OutputType = None,
    imatrix: Imatrix = None,
    plain: Annotated[bool, typer.Option("--plain", help="Leave layerquant's metadata block out.")] = False,
    threads: Threads = None,
    allow_requantize: AllowRequantize = False,
) -> None:
    """Write a GGUF from LAYER_TYPES, a tensor-type file or a preset; equal to llama-quantize's tensors bit for bit."""
    if (layer_types is None) == (recipe is None):
        raise ConfigError("give either --layer-types or --recipe")
    file = ModelFile.open(model)
    if file.quantized_source and not allow_requantize:
        raise GgufError(
            f"{model} is already quantized; start from its F16, BF16 or F32 file, or add --allow-requantize"
        )
    importance = open_imatrix(imatrix, file)
    presets = load_presets(file, imatrix=importance is not None)
    flags = flags_given(token_embedding_type, output_tensor_type)
    if layer_types is not None:
        resolved = recipe_from_layer_types_option(layer_types, flags, file, presets)
    else:
        resolved = recipe_from_file(recipe or "", flags, file, presets)
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
    err().print(f"written: {output}, {output.stat().st_size:,} bytes")


@takes_runtime_flags
def evaluate(
    candidate: Annotated[Path, typer.Argument(help="The GGUF to score; of a split one, any part.")],
    reference: Annotated[Path, typer.Option("--reference", help="A model, or a --kl-divergence-base file.")],
    text: Annotated[str | None, typer.Option("--text", help="Text to score on.")] = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Chunks of the text; by default all.")] = None,
    prompts: Annotated[str | None, typer.Option(help="A prompt suite.")] = None,
    tasks: Annotated[Path | None, typer.Option(help="A task file.")] = None,
    as_json: Json = False,
    *,
    runtime: dict[str, Any],
) -> None:
    """Perplexity and KL divergence of any GGUF against a reference, as llama-perplexity computes them."""
    from evaluators.evaluate import evaluate_file  # numba: not for commands that score nothing

    if prompts not in (None, "none") or tasks is not None:
        raise ConfigError("--prompts and --tasks cannot be run yet; leave them out")
    use_extra_bufts = runtime.pop("repack", True)
    scored, reference_paths = ModelFile.open(candidate), _reference_paths(reference)
    reporter = TerminalReporter(err())
    evaluator = EvaluatorProcess(RuntimeSettings(**runtime, use_extra_bufts=use_extra_bufts))
    try:
        reporter.phase("evaluation", 1)
        result = evaluate_file(
            evaluator, scored.paths, reference_paths, text=find_file(text) if text else None, chunks=chunks,
            progress=lambda done, total: reporter.work(done, total),
        )  # fmt: skip
    finally:
        reporter.close()
        evaluator.close()
    result["size_bytes"] = scored.size_bytes
    if as_json:
        print_json(result)
        return
    console = out()
    console.print(f"tokens scored      {result['tokens']:,}")
    console.print(f"mean KLD           {result['mean_kld']:.6f} ± {result['mean_kld_standard_error']:.6f} nats/token")
    console.print(f"perplexity         {result['perplexity']:.4f} (reference {result['reference_perplexity']:.4f})")
    console.print(f"same top token     {100 * result['top1_agreement']:.3f} %")
    console.print(f"RMS delta p        {100 * result['rms_delta_p']:.3f} %")
    console.print(f"size               {result['size_bytes']:,} bytes")


def _reference_paths(reference: Path) -> list[Path]:
    """All files of a model; a logits file or a reference folder as it is."""
    if not reference.exists():
        raise ConfigError(f"{reference}: no such file; give a GGUF model or a --kl-divergence-base file")
    if reference.is_dir():
        return [reference]
    with reference.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return list(ModelFile.open(reference).paths) if is_gguf else [reference]


@takes_runtime_flags
def probe(
    model: Model,
    csv_out: Annotated[Path | None, typer.Option("--csv", help="Write the sensitivities to this file.")] = None,
    csv_in: Annotated[Path | None, typer.Option("--from-csv", help="Take sensitivities from this file.")] = None,
    budget: Annotated[str | None, typer.Option(help="Only matters where the source exceeds memory.")] = None,
    units: Annotated[str, typer.Option(help="layers, groups or tensors.")] = "groups",
    types: Annotated[str | None, typer.Option(help="Types whose cost is wanted.")] = None,
    search_text: Annotated[str | None, typer.Option("--search-text", "--text", help="Text to probe on.")] = None,
    imatrix: Imatrix = None,
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
    from optimizer.search.probe_run import probe_only  # optuna and scipy: not for commands that only look

    changes: dict[str, Any] = {"model": str(model)} | given(
        budget=budget, units=units, types=types, search_text=search_text, imatrix=imatrix
    )
    if chunks is not None:
        changes |= {"evaluation.chunks": chunks, "evaluation.probe_chunks": chunks}
    changes |= {f"evaluation.{key}": value for key, value in runtime.items()}
    if allow_requantize:
        changes["quantization.allow_requantize"] = True
    changes |= dict(parse_assignment(text) for text in assignments or [])
    plan = make_plan(SearchConfig.load(None, changes))
    reporter = TerminalReporter(err())
    try:
        rows = probe_only(plan, Workplace(studies, database, bank), reporter, _read_csv(csv_in) if csv_in else [])
    finally:
        reporter.close()
    if csv_out is not None:
        write_text(csv_out, _as_csv(rows))
        err().print(f"written: {csv_out}")
    if as_json:
        print_json({"model": str(model), "sensitivities": rows})
    elif csv_out is None:
        print(_as_csv(rows), end="")


COLUMNS = ("unit", "tensor_type", "kld", "standard_error", "base", "source")


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({column: row[column] for column in COLUMNS} for row in rows)
    return text.getvalue()


def _read_csv(path: Path) -> list[dict[str, Any]]:
    """Rows with `unit`, `tensor_type` and `kld`. ConfigError names the line that cannot be read."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"unit", "tensor_type", "kld"} <= set(reader.fieldnames or ()):
                raise ConfigError(f"{path}: a table of sensitivities needs the columns unit, tensor_type and kld")
            rows: list[dict[str, Any]] = []
            for number, row in enumerate(reader, start=2):
                try:
                    kld = float(row["kld"])
                except (TypeError, ValueError):
                    kld = math.nan
                if not 0 <= kld < math.inf:
                    raise ConfigError(f"{path}, line {number}: {row['kld']!r} is no KLD (a number, not negative)")
                rows.append({**row, "kld": kld})
            return rows
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def doctor(studies: Studies = DEFAULT_STUDIES, as_json: Json = False) -> None:
    """Check this machine: library, CPU features, GPU, memory, disk, open files; exit code 1 when a check fails."""
    checks = examine(studies)
    if as_json:
        print_json(
            {"checks": [{"name": c.name, "state": c.state, "found": c.found, "advice": c.advice} for c in checks]}
        )
    else:
        console = out()
        colours = {"ok": "green", "warn": "yellow", "fail": "red"}
        for check in checks:
            console.print(f"[{colours[check.state]}]{check.state:<5}[/] {check.name:<16} {check.found}", soft_wrap=True)
            if check.advice:
                console.print(f"{'':<23}{check.advice}", soft_wrap=True)
    if any(check.state == "fail" for check in checks):
        raise typer.Exit(1)
