"""What the API answers of trials; see `shapes`."""

from typing import Literal

from pydantic import BaseModel

from optimizer.service.shapes import JsonObject


class TrialRow(BaseModel):
    """One of `trials --json`; `layer_types` only where it is asked for."""

    number: int
    state: Literal["running", "complete", "pruned", "failed"]
    name: str | None
    origin: str
    size_bytes: int
    budget_bytes: int | None
    mean_kld: float | None
    mean_kld_standard_error: float | None
    full_text_estimate: float | None
    perplexity: float | None
    predicted_kld: float | None
    predicted_kld_standard_error: float | None
    chunks_scored: int
    tokens_spent: int
    prompts_solved: int | None
    prompts_total: int | None
    kept_out: str | None
    error: str | None


class Trials(BaseModel):
    study: str
    tokens_evaluated: int
    trials: list[TrialRow]
    next: int | None


class Trial(TrialRow):
    layer_types: str | None
    tensor_types: dict[str, str]
    layer_map: JsonObject
    metrics: JsonObject | None
    params: JsonObject
    attempts: int
    started_at: float | None
    duration_seconds: float | None


class Chunk(BaseModel):
    chunk: int
    tokens: int
    counts: float
    mean_kld: float
    perplexity: float
    reference_perplexity: float
    top1_agreement: float


class TextChunks(BaseModel):
    text: Literal["search", "report"]
    tokens: int
    mean_kld: float
    mean_kld_standard_error: float
    chunks: list[Chunk]


class TrialChunks(BaseModel):
    study: str
    number: int
    texts: list[TextChunks]


class Point(BaseModel):
    number: int
    name: str | None
    origin: str
    size_bytes: int
    budget_bytes: int | None
    mean_kld: float | None
    mean_kld_standard_error: float | None
    perplexity: float | None
    predicted_kld: float | None
    tokens_spent: int
    prompts_solved: int | None
    prompts_total: int | None
    kept_out: str | None
    on_front: bool


class Front(BaseModel):
    study: str
    best: int | None
    winners: list[int]
    points: list[Point]
    report: JsonObject | list[JsonObject] | None


class Sensitivity(BaseModel):
    unit: str
    probe_type: str
    base: str
    kld: float
    standard_error: float | None
    source: str


class Sensitivities(BaseModel):
    study: str
    sensitivities: list[Sensitivity]


class AskedPrompt(BaseModel):
    prompt: str
    category: str
    solved: bool
    source_solved: bool | None
    first_divergence: int | None
    endings: list[str]


class SuiteHalf(BaseModel):
    suite_sha256: str
    half: str
    summary: JsonObject
    prompts: list[AskedPrompt]


class Transcripts(BaseModel):
    suites: list[SuiteHalf]


class Transcript(BaseModel):
    """The trial's answers to one prompt, and the source's; loops as [onset, period, length] in tokens."""

    prompt: str
    half: str
    trial: JsonObject
    source: JsonObject | None
