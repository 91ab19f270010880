"""The report of a study (`report --json`) as frozen values, for the pages that show it.

Only what the contract names is required; everything else may be missing in reports of older versions, and is None then.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optimizer.errors import StudyError
from optimizer.export.report_findings import Forecasts, ParetoFront, Wider
from optimizer.export.report_prompt_front import PromptFrontRow, prompt_front_rows
from optimizer.export.report_prompts import PromptReport

PRESET = "preset"
WINNER = "layerquant"
REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One measured file. KLD in nats per token against the reference, over the report text."""

    name: str
    kind: str
    """`preset`, `uniform`, `hybrid`, ... of a baseline; WINNER or REFERENCE."""
    size_bytes: int
    mean_kld: float
    perplexity: float
    bits_per_weight: float | None = None
    mean_kld_standard_error: float | None = None
    perplexity_standard_error: float | None = None
    top1_agreement: float | None = None
    """0 to 1."""
    fits: bool = True
    """Within the budget."""


@dataclass(frozen=True, slots=True)
class Front:
    """One budget with its winner and what it was compared with."""

    budget: str
    budget_bytes: int
    best: ReportRow
    trial: int
    layer_types: str
    flags: str
    baselines: tuple[ReportRow, ...]
    interpolated_preset_kld: float | None
    interpolated_allowed_preset_kld: float | None
    extrapolated: bool
    verdict: str
    """One sentence: whether report text confirms the winner. Empty in reports that have none."""
    leftover_bytes: int
    """Of the budget, not used by the winner."""
    leftover: str
    """Whether those bytes could be used. Empty where the report does not say."""
    wider: tuple[Wider, ...]
    prompts: PromptReport | None = None
    prompt_front: tuple[PromptFrontRow, ...] = ()
    pruning: str = ""
    """One sentence: what leaving out layers costs. Empty where the search left out none."""

    @property
    def interpolation(self) -> str:
        """What `interpolated_preset_kld` is the KLD of."""
        return "the nearest stock preset" if self.extrapolated else "the stock presets, interpolated to the same bytes"


@dataclass(frozen=True, slots=True)
class Report:
    study: str
    model_name: str
    architecture: str
    n_layer: int | None
    parameters: int | None
    reference: ReportRow | None
    """The source model; None in reports that do not tell its size."""
    fronts: tuple[Front, ...]
    noise_floor_kld: float | None
    report_text: str
    """Name of the text's file."""
    report_chunks: int | None
    engine: str
    tokens_evaluated: int | None
    forecasts: Forecasts | None
    pareto: ParetoFront | None
    """Of several budgets; None with one."""

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Report":
        """Raises StudyError where a key of the contract is missing."""
        try:
            return _report(document)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StudyError(
                f"the study's report cannot be read ({type(error).__name__}: {error}). "
                "Was it written by another version? Run the same `layerquant search` command once more."
            ) from error


def _report(document: Mapping[str, Any]) -> Report:
    fronts = tuple(_front(each) for each in document.get("fronts") or [document])
    model: Mapping[str, Any] = document.get("model") or {}
    text: Mapping[str, Any] = document.get("report_text") or {}
    engine: Mapping[str, Any] = document.get("engine") or {}
    return Report(
        study=str(document.get("study") or "study"),
        model_name=str(model.get("name") or _file_name(model.get("path")) or "the model"),
        architecture=str(model.get("architecture") or ""),
        n_layer=model.get("n_layer"),
        parameters=model.get("parameters"),
        reference=_reference(model, document.get("reference_perplexity")),
        fronts=fronts,
        noise_floor_kld=document.get("noise_floor_kld"),
        report_text=_file_name(text.get("path")),
        report_chunks=text.get("chunks"),
        engine=" ".join(str(engine[key]) for key in ("name", "version") if engine.get(key)),
        tokens_evaluated=document.get("tokens_evaluated"),
        forecasts=Forecasts.from_json(document.get("honesty")),
        pareto=ParetoFront.from_json(document.get("front")),
    )


def _front(document: Mapping[str, Any]) -> Front:
    budget_bytes = int(document["budget_bytes"])
    best: Mapping[str, Any] = document["best"]
    return Front(
        budget=str(document.get("budget") or f"{budget_bytes} bytes"),
        budget_bytes=budget_bytes,
        best=_row({**best, "name": f"trial {best['trial']}"}, WINNER, budget_bytes),
        trial=int(best["trial"]),
        layer_types=_as_text(best["layer_types"]),
        flags=str(best["flags"] or ""),
        baselines=tuple(_row(row, str(row["kind"]), budget_bytes) for row in document["baselines"]),
        interpolated_preset_kld=document.get("interpolated_preset_kld"),
        interpolated_allowed_preset_kld=document.get("interpolated_allowed_preset_kld"),
        extrapolated=bool(document.get("extrapolated")),
        verdict=str(document.get("verdict") or ""),
        leftover_bytes=budget_bytes - int(best["size_bytes"]),
        leftover=str((document.get("leftover") or {}).get("text") or ""),
        wider=tuple(Wider.from_json(hint) for hint in document.get("wider") or ()),
        prompts=PromptReport.from_json(document.get("prompts")),
        prompt_front=prompt_front_rows(document.get("prompt_front")),
        pruning=str((document.get("pruning") or {}).get("text") or ""),
    )


def _row(document: Mapping[str, Any], kind: str, budget_bytes: int) -> ReportRow:
    size_bytes = int(document["size_bytes"])
    return ReportRow(
        name=str(document["name"]),
        kind=kind,
        size_bytes=size_bytes,
        mean_kld=float(document["mean_kld"]),
        perplexity=float(document["perplexity"]),
        bits_per_weight=document.get("bits_per_weight"),
        mean_kld_standard_error=document.get("mean_kld_standard_error"),
        perplexity_standard_error=document.get("perplexity_standard_error"),
        top1_agreement=document.get("top1_agreement"),
        fits=size_bytes <= budget_bytes,
    )


def _reference(model: Mapping[str, Any], perplexity: float | None) -> ReportRow | None:
    if model.get("size_bytes") is None or perplexity is None:
        return None
    size_bytes, parameters = int(model["size_bytes"]), model.get("parameters")
    bits = 8 * size_bytes / int(parameters) if parameters else None
    return ReportRow(
        "source model", REFERENCE, size_bytes, 0.0, float(perplexity), bits, top1_agreement=1.0, fits=False
    )


def _as_text(layer_types: str | Sequence[Any]) -> str:
    """LAYER_TYPES as it is written; reports may hold the string or the list of rows."""
    if isinstance(layer_types, str):
        return layer_types
    return "[\n" + ",\n".join(json.dumps(row, separators=(",", ":")) for row in layer_types) + "\n]"


def _file_name(path: Any) -> str:
    """The last part only: a report that is published names no folders of the machine it was made on."""
    return str(path).replace("\\", "/").rsplit("/", 1)[-1] if path else ""
