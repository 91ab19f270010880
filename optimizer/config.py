"""One tree of settings for a search: read from YAML, changed by flags and `--set key=value`, kept with the study."""

from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator

from optimizer.errors import ConfigError
from optimizer.settings import (
    BaselineSettings,
    EvaluationSettings,
    ExecutionSettings,
    GenerationSettings,
    QuantizationSettings,
    Sampler,
    Settings,
    TrackingSettings,
)


class SearchConfig(Settings):
    """Everything that makes two runs the same search."""

    model: str
    study: str | None = Field(default=None, description="by default made from the model's name and the budget")
    budget: str = "IQ4_XS"
    units: Literal["layers", "groups", "tensors"] = "layers"
    types: tuple[str, ...] | None = Field(
        default=None, description="layer types (layers) or tensor types (groups, tensors)"
    )
    pins: dict[str, str] = Field(
        default_factory=dict, description="regular expression over tensor names -> tensor type"
    )
    bounds: dict[str, str] = Field(
        default_factory=dict, description="regular expression over tensor names -> >=TYPE, <=TYPE or LOW..HIGH"
    )
    probing: Literal["auto", "groups", "layers_roles"] = Field(
        default="auto", description="probe each group, or layers and roles apart; auto: groups up to 96 of them"
    )
    probe_base: Literal["auto", "source", "budget"] = Field(
        default="auto", description="what a probe leaves the rest at; auto: the source where it fits into memory"
    )
    second_probes: int | None = Field(
        default=None,
        ge=0,
        description="probes, a budget, of options that the knapsack would take; by default none where all units have "
        "a probe or sensitivities are given, else half as many as there are probes of parts",
    )
    sensitivities: str | None = Field(
        default=None, description="CSV of a relative of this model: its parts' shares are taken, not measured"
    )
    search_text: str | None = None
    report_text: str | None = None
    prompts: str | None = Field(default=None, description="prompt suite: a file, or a shipped one by name; none: off")
    gate: bool = Field(
        default=True, description="with prompts: who solves fewer than the incumbent, or loops, does not win"
    )
    objective: Literal["kld", "kld+prompts"] = Field(
        default="kld", description="kld+prompts: all complete trials answer, and the front of both is reported"
    )
    gate_proxy: bool = Field(
        default=True, description="before the gate: KLD on the source's own answers, where nothing is generated"
    )
    prune: int = Field(default=0, ge=0, description="layers that the file may leave out, at most; 0: it has all")
    prune_candidates: PositiveInt | tuple[int, ...] = Field(
        default=4, description="layers to try: so many of least block influence, or a list of their numbers"
    )
    imatrix: str | None = Field(default=None, description="a file; auto: made of imatrix_text and kept; none: without")
    imatrix_text: str | None = Field(default=None, description="text of `auto`, other than those measured on")
    imatrix_chunks: int | None = Field(default=None, ge=1, description="chunks of imatrix_text; by default all")
    sampler: Sampler = "layerquant"
    trials: int = Field(
        default=100, ge=1, description="complete and pruned trials, baselines included, for each budget"
    )
    hours: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(
        default=None, gt=0, description="stop proposing once the study has evaluated so many, probes included"
    )
    database_wait: float = Field(
        default=600, ge=0, description="seconds that a search waits for a database that is away, before it ends"
    )
    seed: int = 0
    evaluation: EvaluationSettings = EvaluationSettings()
    generation: GenerationSettings = GenerationSettings()
    quantization: QuantizationSettings = QuantizationSettings()
    baselines: BaselineSettings = BaselineSettings()
    tracking: TrackingSettings = TrackingSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @field_validator("types", mode="before")
    @classmethod
    def _split_types(cls, value: Any) -> Any:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("budget", mode="before")
    @classmethod
    def _budget_as_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("prompts")
    @classmethod
    def _no_prompts(cls, value: str | None) -> str | None:
        return None if value == "none" else value

    @classmethod
    def load(cls, path: Path | None, changes: dict[str, Any]) -> Self:
        """A YAML file (or none) with `changes` over it; their keys may be dotted (`evaluation.chunks`).

        Pins and bounds add to those of the file.
        """
        tree = read_yaml(path) if path else {}
        for key, value in changes.items():
            _put(tree, key, value)
        try:
            return cls.model_validate(tree)
        except ValidationError as error:
            raise ConfigError(f"{path or 'settings'}: {_explain(error)}") from None

    def differences(self, other: "SearchConfig") -> list[str]:
        """Settings that differ and that a continued study must keep: `key: this -> other`.

        How long to search may change, and so may where and how fast it runs.
        """
        free = {
            "trials",
            "hours",
            "tokens",
            "database_wait",
            "tracking.mlflow",
            "tracking.optuna",
            "quantization.threads",
            "quantization.bank_gib",
            "execution.workers",
            "execution.cluster",
            "execution.tls_ca",
            "execution.tls_cert",
            "execution.tls_key",
        }
        mine, theirs = _flatten(self.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
        return [
            f"{key}: {mine.get(key)!r} -> {theirs.get(key)!r}"
            for key in sorted({*mine, *theirs} - free)
            if mine.get(key) != theirs.get(key)
        ]


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); give the path of a YAML file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no readable YAML: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold settings as `key: value` lines; see configs/ for examples")
    return tree


def parse_assignment(text: str) -> tuple[str, Any]:
    """`evaluation.chunks=32` -> ("evaluation.chunks", 32); the value is read as YAML."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text!r} must have the form key=value, for example --set evaluation.chunks=32")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text!r}: the value is no readable YAML: {error}") from None


def _put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        branch = tree.setdefault(parent, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"setting {key!r}: {parent!r} is a single value and has no parts")
        tree = branch
    known = tree.get(last)
    tree[last] = known | value if isinstance(known, dict) and isinstance(value, dict) else value


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and key not in ("pins", "bounds"):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


_FORMS = {"prune_candidates": "give how many layers to try, from 1 on, or a list of their numbers such as [3, 5]"}
"""What a setting of several forms takes, in place of an error for each form."""


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        wanted = _FORMS.get(str(next(iter(problem["loc"]), "")))
        if wanted is not None:
            problems.append(f"setting {problem['loc'][0]!r}: {wanted}")
        elif problem["type"] == "extra_forbidden":
            problems.append(f"unknown setting {key!r}")
        elif problem["type"] == "missing":
            problems.append(f"setting {key!r} is missing")
        else:
            problems.append(f"setting {key!r} = {problem['input']!r}: {problem['msg'].lower()}")
    return "; ".join(dict.fromkeys(problems))
