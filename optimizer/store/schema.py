"""The tables. A change here needs a migration in `migrations/versions` and its number in `SCHEMA_REVISIONS`."""

from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Index, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from optimizer.store.columns import CompressedJson, json_column

SCHEMA_REVISIONS = ("0001", "0002", "0003", "0004")
"""Every revision this version knows, oldest first. A test holds it to the migrations' own order."""

VERSION_TABLE = "layerquant_version"
"""Not Alembic's default, which MLflow and Optuna use in their own databases."""


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double()}


class Model(Table):
    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str | None]
    path: Mapped[str]
    architecture: Mapped[str]
    n_layer: Mapped[int]
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Text(Table):
    __tablename__ = "texts"

    id: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    path: Mapped[str]
    n_bytes: Mapped[int] = mapped_column(BigInteger)


class RecipeRow(Table):
    __tablename__ = "recipes"
    __table_args__ = (UniqueConstraint("model_id", "key"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    key: Mapped[str]
    tensor_types: Mapped[dict[str, str]] = mapped_column(CompressedJson())
    plain_bytes: Mapped[int] = mapped_column(BigInteger)


class EvaluationSettings(Table):
    """Evaluator settings, engine and reference by the sha256 of their canonical JSON."""

    __tablename__ = "evaluation_settings"

    key: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[dict[str, Any]] = mapped_column(json_column())


class Evaluation(Table):
    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("recipe_id", "text_id", "settings_key", "first_chunk", "n_chunks"),
        CheckConstraint("first_chunk >= 0 AND n_chunks > 0", name="range"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipes.id"))
    text_id: Mapped[int] = mapped_column(ForeignKey("texts.id"))
    settings_key: Mapped[str] = mapped_column(ForeignKey("evaluation_settings.key"))
    first_chunk: Mapped[int]
    n_chunks: Mapped[int]
    tokens: Mapped[int] = mapped_column(BigInteger)
    chunks: Mapped[list[dict[str, Any]]] = mapped_column(CompressedJson())
    summary: Mapped[dict[str, Any]] = mapped_column(json_column())
    duration_seconds: Mapped[float]
    created_at: Mapped[float]


class Behaviour(Table):
    """One model, or one recipe of a model, on a suite of prompts or one half of it, with every transcript."""

    __tablename__ = "behaviours"
    __table_args__ = (
        UniqueConstraint("subject", "suite_sha256", "half", "settings_key"),
        CheckConstraint("half IN ('whole', 'search', 'report')", name="half"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    subject: Mapped[str]
    suite_sha256: Mapped[str]
    half: Mapped[str]
    settings_key: Mapped[str] = mapped_column(ForeignKey("evaluation_settings.key"))
    prompts: Mapped[list[dict[str, Any]]] = mapped_column(CompressedJson())
    summary: Mapped[dict[str, Any]] = mapped_column(json_column())
    generation: Mapped[dict[str, Any]] = mapped_column(json_column())
    created_at: Mapped[float]


class Sensitivity(Table):
    __tablename__ = "sensitivities"
    __table_args__ = (
        UniqueConstraint("model_id", "text_id", "settings_key", "unit", "probe_type", "base"),
        CheckConstraint("source IN ('measured', 'imported')", name="source"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    text_id: Mapped[int] = mapped_column(ForeignKey("texts.id"))
    settings_key: Mapped[str] = mapped_column(ForeignKey("evaluation_settings.key"))
    unit: Mapped[str]
    probe_type: Mapped[str]
    base: Mapped[str]
    kld: Mapped[float]
    standard_error: Mapped[float | None]
    source: Mapped[str]
    evaluation_id: Mapped[int | None] = mapped_column(ForeignKey("evaluations.id"))


class Study(Table):
    __tablename__ = "studies"
    __table_args__ = (CheckConstraint("state IN ('created', 'running', 'paused', 'finished', 'failed')", name="state"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    config: Mapped[dict[str, Any]] = mapped_column(json_column())
    state: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    phase: Mapped[str | None]
    progress: Mapped[dict[str, Any] | None] = mapped_column(json_column())
    report: Mapped[dict[str, Any] | None] = mapped_column(json_column())
    target_trials: Mapped[int | None]
    deadline: Mapped[float | None]
    tokens_evaluated: Mapped[int] = mapped_column(BigInteger, default=0)
    stop_requested_at: Mapped[float | None]
    created_at: Mapped[float]
    finished_at: Mapped[float | None]
    lease_host: Mapped[str | None]
    lease_pid: Mapped[int | None]
    lease_process_started: Mapped[float | None]
    lease_boot_id: Mapped[str | None]
    lease_token: Mapped[str | None]
    lease_expires_at: Mapped[float | None]


class Trial(Table):
    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_trials_study_id_state", "study_id", "state"),  # counting reads no rows, which hold whole recipes
        CheckConstraint("state IN ('running', 'complete', 'pruned', 'failed')", name="state"),
        CheckConstraint("state <> 'complete' OR mean_kld IS NOT NULL", name="complete_has_kld"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    number: Mapped[int]
    state: Mapped[str]
    origin: Mapped[str]
    name: Mapped[str | None]
    budget_bytes: Mapped[int | None] = mapped_column(BigInteger)
    recipe_id: Mapped[int] = mapped_column(ForeignKey("recipes.id"))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    mean_kld: Mapped[float | None]
    mean_kld_standard_error: Mapped[float | None]
    perplexity: Mapped[float | None]
    chunks_scored: Mapped[int] = mapped_column(default=0)
    tokens_spent: Mapped[int] = mapped_column(BigInteger, default=0)
    predicted_kld: Mapped[float | None]
    predicted_kld_standard_error: Mapped[float | None]
    params: Mapped[dict[str, str]] = mapped_column(json_column())
    layer_types: Mapped[str | None]
    metrics: Mapped[dict[str, Any] | None] = mapped_column(json_column())
    error: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=1)
    lease_token: Mapped[str]
    """Of the holder that works on it: a `running` trial with another token was interrupted."""
    started_at: Mapped[float]
    finished_at: Mapped[float | None]
    duration_seconds: Mapped[float | None]


class OutboxEvent(Table):
    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_delivered_at_id", "delivered_at", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trials.id"))
    kind: Mapped[str]
    payload: Mapped[dict[str, Any]] = mapped_column(json_column())
    created_at: Mapped[float]
    delivered_at: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None]


class Commit(Table):
    """Of each transaction that wrote to PostgreSQL in the last day: its token; see `commits.py`. Empty on SQLite."""

    __tablename__ = "commits"

    token: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float]


class Claim(Table):
    """Who does a job that only one process may do at a time, such as feeding MLflow."""

    __tablename__ = "claims"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    process_started: Mapped[float]
    boot_id: Mapped[str]
    token: Mapped[str]
    expires_at: Mapped[float]
