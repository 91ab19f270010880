"""What the API answers, for its description alone: handlers give plain objects, and nothing is checked as it is sent.

A shape names the keys that are always there; those that come with a kind of study (pruning, several budgets) are more.
"""

from typing import Any, Literal

from pydantic import BaseModel

JsonObject = dict[str, Any]


def answers(shape: type[BaseModel], status: int = 200) -> dict[str, Any]:
    """Arguments of a route that describe what it answers."""
    return {"status_code": status, "responses": {status: {"model": shape}}}


class Health(BaseModel):
    status: Literal["ok"]
    version: str


class Check(BaseModel):
    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str


class Checks(BaseModel):
    """`doctor --json`."""

    checks: list[Check]


class Job(BaseModel):
    """A command that the service runs as a process of its own. Times are seconds since 1970."""

    id: int
    kind: Literal["search", "export"]
    study: str
    state: Literal["queued", "running", "ended"]
    submitted_at: float
    started_at: float | None
    stopped_at: float | None
    ended_at: float | None
    exit_code: int | None
    error: str | None
    command: str
    file: str | None


class Best(BaseModel):
    trial: int
    name: str | None
    size_bytes: int
    mean_kld: float
    mean_kld_standard_error: float | None
    perplexity: float | None
    layer_types: str | None


class AtWork(BaseModel):
    """Evaluators that fit the study, and the machines that they are on."""

    evaluators: int
    machines: int


class Study(BaseModel):
    """`status --json`, and as `job` what the service last ran for it."""

    study: str
    state: Literal["created", "queued", "starting", "running", "paused", "finished", "failed"]
    holder: str | None
    phase: str | None
    at_work: AtWork | None
    trials: dict[str, int]
    target_trials: int | None
    best: Best | None
    eta_seconds: float | None
    tokens_evaluated: int
    honesty: JsonObject | None
    wider: list[JsonObject]
    stop_requested: bool
    job: Job | None


class Studies(BaseModel):
    studies: list[Study]


class Deleted(BaseModel):
    deleted: str


class Log(BaseModel):
    log: str


class Report(BaseModel):
    """`report --json`; of several budgets, the same objects in `fronts`."""

    study: str
    model: JsonObject


class Exports(BaseModel):
    exports: list[Job]


class Model(BaseModel):
    """By its header alone; of a file that cannot be read, `path` and `error` alone."""

    path: str
    error: str | None
    name: str | None = None
    architecture: str | None = None
    n_layer: int | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    files: int | None = None
    experts: int | None = None
    quantized: bool | None = None


class Models(BaseModel):
    folders: list[str]
    models: list[Model]


class Files(BaseModel):
    texts: list[str]
    imatrices: list[str]
    suites: list[str]
    configs: list[str]


class Range(BaseModel):
    min: int
    max: int


class Plan(BaseModel):
    """`plan --json`."""

    model: str
    name: str | None
    architecture: str
    n_layer: int
    parameters: int
    source_bytes: int
    budget: str
    budget_bytes: int
    budgets: list[JsonObject]
    bank_bytes: int
    feasible_bytes: Range
    presets: dict[str, int]
    presets_needing_imatrix: list[str]
    fallbacks: dict[str, dict[str, str]]
    fallback_groups: list[JsonObject]
    notes: list[str]
    search: JsonObject
