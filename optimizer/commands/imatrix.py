"""`layerquant imatrix`: make an importance matrix in this process's child, or show what one says."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from evaluators.errors import EvaluationError
from evaluators.imatrix.sums_file import SumsFile
from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.commands.imatrix_shown import coverage_lines, coverage_object, layer_table, weight_table
from optimizer.commands.options import Json, takes_runtime_flags
from optimizer.commands.shown import err, out, print_json
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.progress import TerminalReporter
from optimizer.quantization.imatrix_coverage import Coverage, coverage
from optimizer.quantization.imatrix_figure import figure
from optimizer.quantization.imatrix_file import ImatrixFile
from optimizer.quantization.imatrix_making import ImatrixOrder, make_imatrix
from optimizer.quantization.imatrix_statistics import statistics_of
from optimizer.recipes.presets import load_presets
from optimizer.sources import find_text, open_model
from optimizer.text_files import write_text


@takes_runtime_flags
def imatrix(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A GGUF file, any part of a split one, or hf://OWNER/REPO, /FILE behind it or not.", show_default=False
        ),
    ] = None,
    text: Annotated[str | None, typer.Option("--text", "-f", help="Text to run through the model.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The importance matrix to write.")] = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Chunks of the text; by default all.")] = None,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Cover the output matrix, too; llama-quantize seldom gains by it.")
    ] = False,
    save_every: Annotated[
        int, typer.Option("--output-frequency", min=1, help="Chunks between two saves, for a run that is cut off.")
    ] = 10,
    show_statistics: Annotated[
        Path | None, typer.Option("--show-statistics", help="Show what this importance matrix says; make none.")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the statistics into this SVG.")] = None,
    as_json: Json = False,
    *,
    runtime: dict[str, Any],
) -> None:
    """An importance matrix of any text, equal to llama-imatrix's, or the figures of its --show-statistics.

    Ctrl-C keeps what was summed; the same command goes on. With --show-statistics a MODEL adds what is not covered.
    """
    opened = None if model is None else open_model(model)
    if show_statistics is not None:
        if text is not None or output is not None:
            raise ConfigError("--show-statistics shows a file and makes none; leave out --text and -o")
        _show(show_statistics, opened, plot, as_json)
        return
    if opened is None or text is None or output is None:
        raise ConfigError(
            "an importance matrix is made of a model and a text: layerquant imatrix MODEL --text FILE -o OUT; "
            "to look at one: layerquant imatrix --show-statistics FILE"
        )
    order = ImatrixOrder(find_text(text).path, chunks, text, process_output, save_every)
    before = _make(opened, order, output, runtime)
    made = ImatrixFile.open(output)
    covered = _coverage(made, opened)
    if plot is not None:
        write_text(plot, figure(statistics_of(made), output.name))
    if as_json:
        numbers = {"chunks": made.chunk_count, "chunk_size": made.chunk_size, "chunks_before": before}
        print_json({"output": str(output), **numbers, "coverage": coverage_object(covered)})
        return
    tokens = made.chunk_count * (made.chunk_size or 0)
    said = f"written: {output}, {len(made.names)} weights, {made.chunk_count} chunks ({tokens:,} tokens)"
    err().print(escape(said), soft_wrap=True)
    for line in coverage_lines(covered):
        err().print(escape(line), soft_wrap=True)


def _make(model: ModelFile, order: ImatrixOrder, output: Path, runtime: dict[str, Any]) -> int:
    use_extra_bufts = runtime.pop("repack", True)
    reporter = TerminalReporter(err())
    evaluator = EvaluatorProcess(RuntimeSettings(**runtime, use_extra_bufts=use_extra_bufts))
    reporter.phase("importance matrix", 1)
    summed = _summed(output)

    def progress(done: int, total: int) -> None:
        nonlocal summed
        if 0 < summed < done:
            reporter.line(f"goes on behind chunk {summed} of {total}; an earlier run summed these")
        summed = 0
        reporter.work(done, total)

    try:
        return make_imatrix(evaluator, model, order, output, progress)
    except BaseException:
        partial = output.with_name(f"{output.name}.partial")
        if partial.exists():
            err().print(f"what was summed is kept in {escape(str(partial))}; the same command goes on", soft_wrap=True)
        raise
    finally:
        reporter.close()
        evaluator.close()


def _summed(output: Path) -> int:
    """Chunks that an interrupted run has left beside `output`."""
    try:
        return SumsFile.open(output.with_name(f"{output.name}.partial")).chunks_done
    except (OSError, EvaluationError):
        return 0


def _coverage(file: ImatrixFile, model: ModelFile) -> Coverage:
    return coverage(file, model.tensors, load_presets(model, imatrix=True).quantizable)


def _show(path: Path, model: ModelFile | None, plot: Path | None, as_json: bool) -> None:
    file = ImatrixFile.open(path)
    statistics = statistics_of(file)
    covered = coverage(file, (), ()) if model is None else _coverage(file, model)
    if plot is not None:
        write_text(plot, figure(statistics, path.name))
    if as_json:
        weights = [asdict(each) | {"layer": each.layer, "role": each.role} for each in statistics.weights]
        print_json(
            {
                "file": str(path),
                "chunks": file.chunk_count,
                "chunk_size": file.chunk_size,
                "datasets": list(file.datasets),
                "weights": weights,
                "layers": [asdict(each) for each in statistics.layers],
                "without_data": list(statistics.empty),
                "coverage": coverage_object(covered, of_model=model is not None),
            }
        )
        return
    console = out()
    size = f" of {file.chunk_size} tokens" if file.chunk_size else ""
    said = f"{path.name}: {len(file.names)} weights, {file.chunk_count} chunks{size}, from {', '.join(file.datasets)}"
    console.print(escape(said), soft_wrap=True)
    console.print(weight_table(statistics))
    console.print(layer_table(statistics))
    for line in coverage_lines(covered, of_model=model is not None):
        console.print(escape(line), soft_wrap=True)
