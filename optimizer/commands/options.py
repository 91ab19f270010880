"""Options that several commands share, spelled as llama.cpp spells them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[
    str,
    typer.Argument(
        help="A GGUF file, any part of a split one, or hf://OWNER/REPO, /FILE behind it or not.", show_default=False
    ),
]
Study = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
OptionalStudy = Annotated[str | None, typer.Argument(help="The study's name; all studies without it.")]
Studies = Annotated[Path, typer.Option("--studies", help="Folder of the studies, their database and shard bank.")]
DATABASE_VARIABLE = "LAYERQUANT_DATABASE"
"""Of the environment, in place of `--database`: a URL with a password is then on no command line."""

Database = Annotated[
    str | None,
    typer.Option("--database", envvar=DATABASE_VARIABLE, help="Database URL, in place of the folder's own."),
]
Bank = Annotated[Path | None, typer.Option("--bank", help="Shard bank shared with other folders.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Imatrix = Annotated[str | None, typer.Option("--imatrix", help="Importance matrix: a file, none, or auto.")]
ImatrixText = Annotated[str | None, typer.Option("--imatrix-text", help="Text that --imatrix auto makes one of.")]
LayerTypesOption = Annotated[
    str | None, typer.Option("--layer-types", help="LAYER_TYPES as JSON or in its shell form, or a file that holds it.")
]
EmbeddingType = Annotated[str | None, typer.Option("--token-embedding-type", help="Tensor type of token_embd.")]
OutputType = Annotated[str | None, typer.Option("--output-tensor-type", help="Tensor type of output.")]
PruneLayers = Annotated[
    str | None, typer.Option("--prune-layers", help="Layers to leave out, separated by commas, as llama-quantize does.")
]
Pins = Annotated[list[str] | None, typer.Option("--pin", help="REGEX=TYPE: these tensors get that type; repeatable.")]
Bounds = Annotated[
    list[str] | None, typer.Option("--bound", help="REGEX=RANGE, as 'attn_v=>=Q5_K' or 'ffn=Q4_K..Q8_0'; repeatable.")
]
AllowRequantize = Annotated[bool, typer.Option("--allow-requantize", help="Accept a source that is quantized already.")]

Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Evaluators on this machine, one by default.")]
Cluster = Annotated[str | None, typer.Option("--cluster", help="A Dask scheduler, tcp://HOST:8786 or tls://HOST:8786.")]
TlsCa = Annotated[str | None, typer.Option("--tls-ca", help="Certificate of the authority of a tls:// cluster, PEM.")]
TlsCert = Annotated[str | None, typer.Option("--tls-cert", help="This machine's certificate, PEM.")]
TlsKey = Annotated[str | None, typer.Option("--tls-key", help="Its key, PEM.")]

Threads = Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Threads; by default all cores.")]

_RUNTIME: dict[str, Any] = {
    "threads": Threads,
    "n_gpu_layers": Annotated[int | None, typer.Option("-ngl", "--n-gpu-layers", help="GPU layers; -1 for all.")],
    "ctx_size": Annotated[int | None, typer.Option("-c", "--ctx-size", min=8, help="Tokens a chunk.")],
    "batch_size": Annotated[int | None, typer.Option("-b", "--batch-size", min=1, help="Tokens a decode call.")],
    "ubatch_size": Annotated[int | None, typer.Option("-ub", "--ubatch-size", min=1, help="Tokens at a time.")],
    "flash_attn": Annotated[str | None, typer.Option("-fa", "--flash-attn", help="on, off or auto.")],
    "cache_type_k": Annotated[str | None, typer.Option("-ctk", "--cache-type-k", help="Type of the K cache.")],
    "cache_type_v": Annotated[str | None, typer.Option("-ctv", "--cache-type-v", help="Type of the V cache.")],
    "rope_scaling": Annotated[str | None, typer.Option("--rope-scaling", help="none, linear or yarn.")],
    "rope_freq_base": Annotated[float | None, typer.Option("--rope-freq-base", help="RoPE base frequency.")],
    "rope_freq_scale": Annotated[float | None, typer.Option("--rope-freq-scale", help="RoPE frequency scale.")],
    "yarn_orig_ctx": Annotated[int | None, typer.Option("--yarn-orig-ctx", help="YaRN: the model's own context.")],
    "yarn_ext_factor": Annotated[float | None, typer.Option("--yarn-ext-factor", help="YaRN: extrapolation mix.")],
    "yarn_attn_factor": Annotated[float | None, typer.Option("--yarn-attn-factor", help="YaRN: attention scale.")],
    "yarn_beta_fast": Annotated[float | None, typer.Option("--yarn-beta-fast", help="YaRN: low correction.")],
    "yarn_beta_slow": Annotated[float | None, typer.Option("--yarn-beta-slow", help="YaRN: high correction.")],
}
_NO_REPACK = Annotated[bool, typer.Option("--no-repack", help="Keep weights as they lie in the file.")]


def takes_runtime_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command llama.cpp's flags; those that were used reach it as `runtime`, by setting (`repack` is a bool)."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.name != "runtime"]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in _RUNTIME.items()
    ]
    no_repack = inspect.Parameter("no_repack", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_NO_REPACK)
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]

    @functools.wraps(command)
    def with_flags(**values: Any) -> None:
        runtime = runtime_given(values)
        for name in (*_RUNTIME, "no_repack"):
            del values[name]
        command(**values, runtime=runtime)

    with_flags.__signature__ = signature.replace(parameters=[*parameters, *flags, no_repack])  # type: ignore[attr-defined]
    with_flags.__annotations__ = {each.name: each.annotation for each in [*parameters, *flags, no_repack]}
    return with_flags


def runtime_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of llama.cpp's flags that were used, by setting."""
    used = given(**{name: options.get(name) for name in (*_RUNTIME, "repack")})
    return used | ({"repack": False} if options.get("no_repack") else {})


def given(**values: Any) -> dict[str, Any]:
    """The options that were given, by the name of their setting."""
    return {name: value for name, value in values.items() if value is not None}
