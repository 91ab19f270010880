"""`layerquant eval`: one GGUF against a reference, on a text, on prompts, or on both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.commands.options import Json, takes_runtime_flags
from optimizer.commands.shown import err, out, print_json
from optimizer.errors import ConfigError
from optimizer.gguf.model_file import ModelFile
from optimizer.progress import TerminalReporter
from optimizer.sources import FoundText, find_text, open_model
from optimizer.sources.hub_name import is_hub_name


@takes_runtime_flags
def evaluate(
    candidate: Annotated[
        str, typer.Argument(help="The GGUF to score; of a split one, any part; or hf://OWNER/REPO/FILE.")
    ],
    reference: Annotated[
        str | None, typer.Option("--reference", help="A model, or a --kl-divergence-base file.")
    ] = None,
    text: Annotated[str | None, typer.Option("--text", help="Text to score on: a file, or a name.")] = None,
    chunks: Annotated[int | None, typer.Option("--chunks", min=1, help="Chunks of the text; by default all.")] = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", help="A prompt suite: a file, or the name of a shipped one.")
    ] = None,
    transcripts: Annotated[
        Path | None, typer.Option("--transcripts", help="Write every generated answer to this file, as JSON lines.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with the answers side by side to this file.")
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

        options = PromptOptions.given(str(prompts), transcripts, chat_template, parallel, studies, html)
    elif transcripts is not None or html is not None:
        flag = "--html" if transcripts is None else "--transcripts"
        raise ConfigError(f"{flag}: there are no answers without prompts; name a suite with --prompts")
    if reference is None and (options is None or text is not None):
        raise ConfigError("a text is scored against a reference: give a model or a logits file with --reference")
    use_extra_bufts = runtime.pop("repack", True)
    scored = open_model(candidate)
    source = _reference_model(reference) if reference is not None else None
    reporter = TerminalReporter(err())
    evaluator = EvaluatorProcess(RuntimeSettings(**runtime, use_extra_bufts=use_extra_bufts))
    given = find_text(text) if text is not None else None
    result: dict[str, Any] = {}
    asked = None
    try:
        # Prompts alone need no text, unless a logits file, which has its own, was given beside them.
        if reference is not None and (options is None or text is not None or source is None):
            paths = source.paths if source is not None else [Path(reference)]
            result = _divergence(evaluator, scored, paths, given, chunks, reporter)
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
    text: FoundText | None,
    chunks: int | None,
    reporter: TerminalReporter,
) -> dict[str, Any]:
    """The result, with the text's digest in it where one was given."""
    from evaluators.evaluate import evaluate_file  # numba: not for commands that score nothing

    reporter.phase("evaluation", 1)
    result = evaluate_file(
        evaluator, scored.paths, reference_paths, text=text.path if text else None, chunks=chunks,
        progress=lambda done, total: reporter.work(done, total),
    )  # fmt: skip
    return {**result, "text": text.as_json()} if text else result


def _show_divergence(result: Mapping[str, Any]) -> None:
    console = out()
    console.print(f"tokens scored      {result['tokens']:,}")
    console.print(f"mean KLD           {result['mean_kld']:.6f} ± {result['mean_kld_standard_error']:.6f} nats/token")
    console.print(f"perplexity         {result['perplexity']:.4f} (reference {result['reference_perplexity']:.4f})")
    console.print(f"same top token     {100 * result['top1_agreement']:.3f} %")
    console.print(f"RMS delta p        {100 * result['rms_delta_p']:.3f} %")


def _reference_model(name: str) -> ModelFile | None:
    """The model; None where the reference is a logits file or a reference folder."""
    reference = Path(name)
    if is_hub_name(name) or reference.suffix == ".safetensors" or (reference / "config.json").exists():
        return open_model(name)
    if not reference.exists():
        raise ConfigError(f"{reference}: no such file; give a GGUF model or a --kl-divergence-base file")
    if reference.is_dir():
        return None
    with reference.open("rb") as file:
        is_gguf = file.read(4) == b"GGUF"
    return ModelFile.open(reference) if is_gguf else None
