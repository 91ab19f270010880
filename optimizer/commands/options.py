"""Options that several commands share, spelled as llama.cpp spells them."""

from pathlib import Path
from typing import Annotated, Any

import typer

Model = Annotated[Path, typer.Argument(help="A GGUF file, or any part of a split one.", show_default=False)]
Study = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
OptionalStudy = Annotated[str | None, typer.Argument(help="The study's name; all studies without it.")]
Studies = Annotated[Path, typer.Option("--studies", help="Folder of the studies, their database and shard bank.")]
Database = Annotated[str | None, typer.Option("--database", help="Database URL, in place of the folder's own.")]
Bank = Annotated[Path | None, typer.Option("--bank", help="Shard bank shared with other folders.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Imatrix = Annotated[str | None, typer.Option("--imatrix", help="Importance matrix: a file, or none.")]
LayerTypesOption = Annotated[
    str | None, typer.Option("--layer-types", help="LAYER_TYPES as JSON or in its shell form, or a file that holds it.")
]
EmbeddingType = Annotated[str | None, typer.Option("--token-embedding-type", help="Tensor type of token_embd.")]
OutputType = Annotated[str | None, typer.Option("--output-tensor-type", help="Tensor type of output.")]
AllowRequantize = Annotated[bool, typer.Option("--allow-requantize", help="Accept a source that is quantized already.")]

Threads = Annotated[int | None, typer.Option("-t", "--threads", min=1, help="Threads; by default the physical cores.")]
GpuLayers = Annotated[int | None, typer.Option("-ngl", "--n-gpu-layers", help="Layers on the GPU; -1 for all.")]
CtxSize = Annotated[int | None, typer.Option("-c", "--ctx-size", min=8, help="Tokens a chunk.")]
BatchSize = Annotated[int | None, typer.Option("-b", "--batch-size", min=1, help="Tokens a decode call.")]
UbatchSize = Annotated[int | None, typer.Option("-ub", "--ubatch-size", min=1, help="Tokens computed at a time.")]
FlashAttention = Annotated[str | None, typer.Option("-fa", "--flash-attn", help="on, off or auto.")]
CacheTypeK = Annotated[str | None, typer.Option("-ctk", "--cache-type-k", help="Type of the K cache.")]
CacheTypeV = Annotated[str | None, typer.Option("-ctv", "--cache-type-v", help="Type of the V cache.")]
NoRepack = Annotated[bool, typer.Option("--no-repack", help="Keep weights as they lie in the file.")]
RopeScaling = Annotated[str | None, typer.Option("--rope-scaling", help="none, linear or yarn.")]
RopeFreqBase = Annotated[float | None, typer.Option("--rope-freq-base", help="RoPE base frequency.")]
RopeFreqScale = Annotated[float | None, typer.Option("--rope-freq-scale", help="RoPE frequency scale.")]
YarnOrigCtx = Annotated[int | None, typer.Option("--yarn-orig-ctx", help="YaRN: the model's own context size.")]
YarnExtFactor = Annotated[float | None, typer.Option("--yarn-ext-factor", help="YaRN: extrapolation mix.")]
YarnAttnFactor = Annotated[float | None, typer.Option("--yarn-attn-factor", help="YaRN: attention scale.")]
YarnBetaFast = Annotated[float | None, typer.Option("--yarn-beta-fast", help="YaRN: low correction dimension.")]
YarnBetaSlow = Annotated[float | None, typer.Option("--yarn-beta-slow", help="YaRN: high correction dimension.")]


def given(**values: Any) -> dict[str, Any]:
    """The options that were given, by the name of their setting."""
    return {name: value for name, value in values.items() if value is not None}
