"""The sections of a search's settings, and the samplers to choose from; `config` has the tree."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Sampler = Literal[
    "layerquant", "random", "tpe", "tpe_shape", "nsga2", "cmaes", "evolution", "evolution_short",
    "one_shot", "weight_error", "greedy",
]  # fmt: skip
SAMPLERS: tuple[str, ...] = get_args(Sampler)


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EvaluationSettings(Settings):
    """How candidates are scored. "Full text" means `chunks` chunks of `ctx_size` tokens."""

    ctx_size: int = Field(default=512, ge=8, description="tokens a chunk (-c)")
    chunks: int = Field(default=64, ge=1, description="chunks of search text")
    pool_chunks: int | None = Field(
        default=None, ge=1, description="chunks that those of trials are drawn from; by default three times `chunks`"
    )
    report_chunks: int | None = Field(
        default=None, ge=1, description="chunks of report text; by default as many as `chunks`"
    )
    probe_chunks: int | None = Field(default=None, ge=1, description="chunks a probe; by default a sixth of `chunks`")
    final_chunks: int | None = Field(
        default=None,
        ge=0,
        description="further chunks of search text that those of finals are drawn from; by default twice `chunks`",
    )
    first_rung: float = Field(
        default=0.25, gt=0, le=1, description="share of the chunks every trial sees before the race"
    )
    batch_size: int = Field(default=2048, ge=1, description="-b")
    ubatch_size: int = Field(default=512, ge=1, description="-ub")
    threads: int | None = Field(default=None, ge=1, description="-t; by default the physical cores")
    n_gpu_layers: int = Field(default=0, description="-ngl; negative means all")
    flash_attn: Literal["auto", "on", "off"] = Field(default="auto", description="-fa")
    cache_type_k: str = Field(default="f16", description="-ctk")
    cache_type_v: str = Field(default="f16", description="-ctv")
    repack: bool = Field(default=True, description="false is --no-repack")
    rope_scaling: str | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None


class GenerationSettings(Settings):
    """How prompts are answered; greedily, always. What is None is the engine's own choice."""

    ctx_size: int | None = Field(default=None, ge=8, description="tokens of the KV cache, of all answers together")
    max_parallel: int | None = Field(default=None, ge=1, description="prompts answered together, at most (-np)")
    draft_tokens: int | None = Field(default=None, ge=1, description="tokens of the source's answer tried at once")
    speculative: bool = Field(default=True, description="try the source's answer as a draft; changes the speed alone")
    stop_loops: bool = Field(default=True, description="end an answer at a proven loop")
    chat_template: str | None = Field(default=None, description="Jinja file in place of the model's own")


class QuantizationSettings(Settings):
    threads: int | None = Field(default=None, ge=1, description="threads that quantize; by default one a core")
    bank_gib: float | None = Field(
        default=None, gt=0, description="cap of the shard bank; least recently used shards go"
    )
    allow_requantize: bool = False


class BaselineSettings(Settings):
    presets: bool = Field(default=True, description="every stock preset that fits")
    variants: bool = Field(default=True, description="presets with Q8_0 embeddings and output that fit")
    uniform: bool = Field(default=True, description="the best uniform fill")
    hybrids: bool = Field(default=True, description="the profiles of configs/hybrids stretched to this depth")


class TrackingSettings(Settings):
    mlflow: str = Field(
        default="default",
        description="tracking URI; `default` is $MLFLOW_TRACKING_URI, else SQLite beside the studies; `none` is off",
    )
    optuna: bool = Field(default=True, description="keep Optuna's own tables, for optuna-dashboard")


class ExecutionSettings(Settings):
    """Where evaluations run, and how many at a time; docs/execution.md."""

    workers: int = Field(default=1, ge=1, description="evaluators on this machine (--workers)")
    cluster: str | None = Field(default=None, description="scheduler of a Dask cluster, tcp://… or tls://… (--cluster)")
    round: int | None = Field(
        default=None, ge=1, description="proposals asked for together: the trials then do not depend on the workers"
    )
    tls_ca: str | None = Field(default=None, description="certificate of the authority that signed all others, PEM")
    tls_cert: str | None = Field(default=None, description="this machine's certificate, PEM")
    tls_key: str | None = Field(default=None, description="its key, PEM")
