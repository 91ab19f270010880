"""What the store hands out and takes in: frozen, detached from any database session.

Times are seconds since 1970 (UTC) by the database's clock, durations seconds, sizes bytes, KLD nats per token.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

StudyState = Literal["created", "running", "paused", "finished", "failed"]
TrialState = Literal["running", "complete", "pruned", "failed"]
EndState = Literal["complete", "pruned", "failed"]
Half = Literal["whole", "search", "report"]

TRIAL_STATES: tuple[TrialState, ...] = ("complete", "pruned", "failed", "running")
COUNTED_STATES: tuple[TrialState, ...] = ("complete", "pruned")
"""The states that `--trials N` counts."""


@dataclass(frozen=True, slots=True)
class ModelRecord:
    id: int
    fingerprint: str
    name: str | None
    path: str
    architecture: str
    n_layer: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class TextRecord:
    id: int
    sha256: str
    path: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class RecipeRecord:
    id: int
    model_id: int
    key: str
    tensor_types: Mapping[str, str]
    plain_bytes: int
    """Size of the file as llama-quantize would write it."""


@dataclass(frozen=True, slots=True)
class NewEvaluation:
    """One recipe scored on chunks `first_chunk` … `first_chunk + n_chunks - 1` of one text."""

    recipe_id: int
    text_id: int
    settings_key: str
    first_chunk: int
    n_chunks: int
    tokens: int
    """Tokens that were decoded for it; added to the study's total when the row is new."""
    chunks: tuple[Mapping[str, Any], ...]
    """The sums of each chunk, from which every figure but percentiles is derived."""
    summary: Mapping[str, Any]
    duration_seconds: float


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    id: int
    recipe_id: int
    text_id: int
    settings_key: str
    first_chunk: int
    n_chunks: int
    tokens: int
    chunks: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]
    duration_seconds: float
    created_at: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunks", tuple(self.chunks))  # JSON knows lists only


@dataclass(frozen=True, slots=True)
class BehaviourRecord:
    """A subject's answers to a suite of prompts, whole."""

    subject: str
    """Fingerprint of a GGUF; of a recipe's candidate: the source's fingerprint, a colon, the recipe's key."""
    suite_sha256: str
    half: Half
    settings_key: str
    prompts: tuple[Mapping[str, Any], ...]
    """Outcome and transcripts of every prompt, as `evaluators.behaviour.record` writes them."""
    summary: Mapping[str, Any]
    """The scores, for whoever reads the table."""
    generation: Mapping[str, Any]
    """How it was generated: seconds, tokens a second, batch shape."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompts", tuple(self.prompts))  # JSON knows lists only


@dataclass(frozen=True, slots=True)
class SensitivityRecord:
    """KLD of the model with one unit at `probe_type` and all others at `base`."""

    model_id: int
    text_id: int
    settings_key: str
    unit: str
    probe_type: str
    base: str
    kld: float
    standard_error: float | None = None
    source: Literal["measured", "imported"] = "measured"
    evaluation_id: int | None = None


@dataclass(frozen=True, slots=True)
class StudyRecord:
    id: int
    name: str
    model_id: int
    config: Mapping[str, Any]
    state: StudyState
    """As recorded; `Store.status` tells whether a living process stands behind a `running`."""
    seed: int
    phase: str | None
    progress: Mapping[str, Any] | None
    """Of the phase; `done`, `total` and `eta_seconds` are read by `Store.status`."""
    report: Mapping[str, Any] | None
    target_trials: int | None
    deadline: float | None
    tokens_evaluated: int
    created_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a study. Another holder's token makes it worthless."""

    study_id: int
    token: str
    ttl_seconds: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class TrialRecord:
    id: int
    study_id: int
    number: int
    """From 0, without gaps, as Optuna counts."""
    state: TrialState
    origin: str
    """Where the recipe came from: `baseline:IQ4_XS`, `surrogate`, `swap`, …"""
    name: str | None
    """Of a baseline."""
    budget_bytes: int | None
    recipe_id: int
    size_bytes: int
    mean_kld: float | None
    mean_kld_standard_error: float | None
    perplexity: float | None
    chunks_scored: int
    tokens_spent: int
    predicted_kld: float | None
    predicted_kld_standard_error: float | None
    """Standard deviation of the forecast of a measurement."""
    params: Mapping[str, str]
    """Unit -> option."""
    layer_types: str | None
    metrics: Mapping[str, Any] | None
    """Whatever else was measured, by name."""
    error: str | None
    attempts: int
    """How often it was started; more than 1 when it was interrupted."""
    started_at: float
    finished_at: float | None
    duration_seconds: float | None
    """Of the last attempt alone."""


@dataclass(frozen=True, slots=True)
class TrialOutcome:
    """What a trial ended with. `failed` carries `error`, `complete` a `mean_kld`."""

    state: EndState
    mean_kld: float | None = None
    mean_kld_standard_error: float | None = None
    perplexity: float | None = None
    chunks_scored: int = 0
    tokens_spent: int = 0
    metrics: Mapping[str, Any] | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class InterruptedTrial:
    """A trial whose process was killed: it starts again under its own number, with its own recipe."""

    trial: TrialRecord
    recipe: RecipeRecord


@dataclass(frozen=True, slots=True)
class NewEvent:
    """Something to tell the outside, written in the transaction of what it tells about.

    Kinds the MLflow mirror knows: `study.started`, `trial.finished`, `study.finished`, `artifact`
    (payload: `name` of the file, and `text` or `path`).
    """

    kind: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    trial_id: int | None = None


@dataclass(frozen=True, slots=True)
class EventRecord:
    id: int
    study_id: int
    trial_id: int | None
    kind: str
    payload: Mapping[str, Any]
    created_at: float
    attempts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class StudyStatus:
    """What `layerquant status` shows, read in one transaction while another process may be writing."""

    study: str
    state: StudyState
    """`running` only while a living holder has the study; a killed search reads `paused`."""
    holder: str | None
    """Host and process id of that holder."""
    phase: str | None
    progress: Mapping[str, Any] | None
    trials: Mapping[str, int]
    """State -> count, every state present."""
    target_trials: int | None
    eta_seconds: float | None
    """None where nothing is known yet."""
    tokens_evaluated: int
    stop_requested: bool
