"""`layerquant quantize`, `eval`, `probe`, `doctor`: single steps on single models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from optimizer.search.sensitivity_table import FORMATS, LAYERQUANT, WHOLE_MODEL, SensitivityTable
from optimizer.search.sensitivity_writing import own_table, tool_suite_curve, tool_suite_table
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
    reference: Annotated[
        Path | None, typer.Option("--reference", help="A model, or a --kl-divergence-base file.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text to score on.")] = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Chunks of the text; by default all.")] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="A prompt suite: a file, or the name of a shipped one.")
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option("--transcripts", help="Write every generated answer to this file, as JSON lines.")
    ] = None,
    chat_template: Annotated[
        Path | None, typer.Option("--chat-template", help="Jinja file in place of the model's chat template.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("-np", "--parallel", min=1, help="Prompts answered together, at most.")
    ] = None,
    studies: Annotated[
        Path | None, typer.Option("--studies", help="Keep the answers in this folder's database, and reuse them.")
    ] = None,
    tasks: Annotated[Path | None, typer.Option(help="A task file.")] = None,
    as_json: Json = False,
    *,
    runtime: dict[str, Any],
) -> None:
    """KL divergence and perplexity of any GGUF against a reference, as llama-perplexity, and what prompts it solves."""
    if tasks is not None:
        raise ConfigError("--tasks cannot be run yet; leave it out")
    options = None
    if prompts not in (None, "none"):
        from optimizer.commands.eval_prompts import PromptOptions, evaluate_prompts, show_prompts

        options = PromptOptions.given(str(prompts), transcripts, chat_template, parallel, studies)
    elif transcripts is not None:
        raise ConfigError("--transcripts: there are none without prompts; name a suite with --prompts")
    if reference is None and (options is None or text is not None):
        raise ConfigError("a text is scored against a reference: give a model or a logits file with --reference")
    use_extra_bufts = runtime.pop("repack", True)
    scored = ModelFile.open(candidate)
    source = _reference_model(reference) if reference is not None else None
    reporter = TerminalReporter(err())
    evaluator = EvaluatorProcess(RuntimeSettings(**runtime, use_extra_bufts=use_extra_bufts))
    result: dict[str, Any] = {}
    asked = None
    try:
        # Prompts alone need no text, unless a logits file, which has its own, was given beside them.
        if reference is not None and (options is None or text is not None or source is None):
            paths = source.paths if source is not None else [reference]
            result = _divergence(evaluator, scored, paths, text, chunks, reporter)
        if options is not None:
            asked = evaluate_prompts(evaluator, scored, source, options, reporter)
            result["prompts"] = asked.as_json()
    finally:
        reporter.close()
        evaluator.close()
    result["size_bytes"] = scored.size_bytes
    if as_json:
        print_json(result)
        return
    if "tokens" in result:
        _show_divergence(result)
    if asked is not None:
        show_prompts(asked)
    out().print(f"size               {result['size_bytes']:,} bytes")


def _divergence(
    evaluator: EvaluatorProcess,
    scored: ModelFile,
    reference_paths: Sequence[Path],
    text: str | None,
    chunks: int | None,
    reporter: TerminalReporter,
) -> dict[str, Any]:
    from evaluators.evaluate import evaluate_file  # numba: not for commands that score nothing

    reporter.phase("evaluation", 1)
    return evaluate_file(
        evaluator, scored.paths, reference_paths, text=find_file(text) if text else None, chunks=chunks,
        progress=lambda done, total: reporter.work(done, total),
    )  # fmt: skip


def _show_divergence(result: Mapping[str, Any]) -> None:
    console = out()
    console.print(f"tokens scored      {result['tokens']:,}")
    console.print(f"mean KLD           {result['mean_kld']:.6f} ± {result['mean_kld_standard_error']:.6f} nats/token")
    console.print(f"perplexity         {result['perplexity']:.4f} (reference {result['reference_perplexity']:.4f})")
    console.print(f"same top token     {100 * result['top1_agreement']:.3f} %")
    console.print(f"RMS delta p        {100 * result['rms_delta_p']:.3f} %")


def _reference_model(reference: Path) -> ModelFile | None:
    """The model; None where the reference is a logits file or a reference folder."""
    if not reference.exists():
        raise ConfigError(f"{reference}: no such file; give a GGUF model or a --kl-divergence-base file")
    if reference.is_dir():
        return None
    with reference.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return ModelFile.open(reference) if is_gguf else None


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
    if csv_format not in FORMATS:
        raise ConfigError(f"--csv-format {csv_format!r} is not known; write one of {', '.join(FORMATS)}")
    plan = make_plan(SearchConfig.load(None, changes))
    table = SensitivityTable.read(csv_in) if csv_in else None
    reporter = TerminalReporter(err())
    try:
        outcome = probe_only(plan, Workplace(studies, database, bank), reporter, table)
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
        err().print(f"written: {file}")


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
