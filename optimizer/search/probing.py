"""Measure the sensitivities of a plan, or take up what was measured before."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil
from rich.markup import escape

from evaluators.divergence import ChunkScore
from evaluators.errors import EvaluationError
from optimizer.errors import ConfigError
from optimizer.gguf.tensor_types import tensor_type as type_of
from optimizer.progress import Reporter
from optimizer.recipes.recipe import Recipe
from optimizer.search.crew import in_parallel
from optimizer.search.draw import Draw, draw_chunks, evenly
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.probes import Probe, ProbeResult, Sensitivities, choose_probe_type, fit, plan_probes
from optimizer.store import SensitivityRecord, Store

SOURCE_MEMORY_SHARE = 0.5
"""A source larger than this share of memory is no base for probes: every probe would be streamed from disk."""


@dataclass(frozen=True)
class ProbeBase:
    """What the rest of the model is kept at while one part is lowered."""

    name: str
    recipe: Recipe
    is_source: bool


@dataclass(frozen=True)
class Probing:
    """The probes of a plan in the order in which they run."""

    base: ProbeBase
    probe_type: str
    probes: tuple[Probe, ...]


def plan_probing(plan: Plan) -> Probing:
    """The probes that the settings ask for; parts whose shares a file gives need none.

    By default from the source where it fits into memory, else around the largest uniform type within the first budget.
    """
    probe_type = choose_probe_type(plan.tensor_types)
    base = _base(plan, probe_type)
    probes = plan_probes(
        plan.parameters, base.recipe, plan.tensor_types, plan.resolve, probe_type,
        kinds=plan.config.probing, known=plan.given.shares if plan.given else (),
    )  # fmt: skip
    return Probing(base, probe_type, probes)


def run_probes(
    plan: Plan,
    probing: Probing,
    measurer: Measurer,
    store: Store,
    n_chunks: int,
    reporter: Reporter,
    before_each: Callable[[], None],
    imported: dict[tuple[str, str], float] | None = None,
) -> Sensitivities:
    """Every probe measured on `n_chunks` chunks, kept as sensitivities, and fitted. A failed probe is protected.

    The chunks are those that the uniform probe of the middle type, measured on the whole text, shows to matter.
    imported: (unit, probe type) -> KLD taken from a file in place of a measurement.
    """
    reporter.phase("probes", len(probing.probes))
    before_each()
    draw = draw_probes(probing, measurer, n_chunks, reporter)
    base_kld = 0.0
    if any(probe.kind != "uniform" for probe in probing.probes):
        base_kld = draw.mean(measure_base(probing.base, measurer, draw))[0]

    def begin(index: int) -> None:
        before_each()
        if index + 1 < len(probing.probes):
            measurer.scorer.prefetch(probing.probes[index + 1].recipe)

    def result(probe: Probe) -> ProbeResult:
        known = (imported or {}).get((probe.subject, probe.tensor_type))
        return ProbeResult(probe, known, None) if known is not None else measure_probe(probe, measurer, draw, reporter)

    results = in_parallel(
        measurer.scorer, list(probing.probes), result, before=begin,
        after=lambda done: reporter.advance(done, probing.probes[done - 1].name),
    )  # fmt: skip
    whole = [result for result in results if plan.given is None or result.probe.kind == "uniform"]
    store.add_sensitivities(_records(measurer, whole, probing))
    measured = fit(results, base_kld, plan.parameters, probing.probe_type)
    return measured if plan.given is None else plan.given.completed(measured)


def pilot_of(probing: Probing) -> Probe | None:
    """The uniform probe of the middle type: where it loses much, other recipes do too."""
    uniform = sorted(
        (probe for probe in probing.probes if probe.kind == "uniform"),
        key=lambda probe: type_of(probe.tensor_type).bits_per_weight,
    )
    return uniform[(len(uniform) - 1) // 2] if uniform else None


def pilot_scores(probing: Probing, measurer: Measurer, reporter: Reporter) -> tuple[ChunkScore, ...] | None:
    """The pilot's on every chunk of the text, in rising order; None where there is none or it fails."""
    pilot = pilot_of(probing)
    if pilot is None:
        return None
    try:
        return measurer.measure(pilot.recipe, measurer.text.n_chunks, f"{pilot.name}, whole text").score.chunks
    except EvaluationError as error:
        reporter.line(f"[yellow]{pilot.name} failed, so the first chunks are taken: {escape(str(error))}[/yellow]")
        return None


def draw_probes(probing: Probing, measurer: Measurer, n_chunks: int, reporter: Reporter) -> Draw:
    """Which chunks probes see: by the pilot's damage on every chunk; the first ones without it."""
    pilot, everything = pilot_scores(probing, measurer, reporter), measurer.text.n_chunks
    if n_chunks >= everything or pilot is None:
        return evenly(range(min(n_chunks, everything)))
    return draw_chunks(pilot, n_chunks)


def measure_base(base: ProbeBase, measurer: Measurer, draw: Draw) -> Mapping[int, float]:
    """KLD by chunk of what probes start from, nats per token; 0 of the source. Raises EvaluationError."""
    if base.is_source:
        return dict.fromkeys(draw.chunks, 0.0)
    return measurer.measure_chunks(base.recipe, draw.chunks, "probe base").by_chunk


def measure_probe(
    probe: Probe, measurer: Measurer, draw: Draw, reporter: Reporter, minus: Mapping[int, float] | None = None
) -> ProbeResult:
    """Without a KLD where it fails, and the reporter says so. minus: KLD by chunk, taken from the probe's."""
    try:
        measured = measurer.measure_chunks(probe.recipe, draw.chunks, probe.name).by_chunk
    except EvaluationError as error:
        reporter.line(f"[yellow]probe {probe.name} failed and its part is protected: {escape(str(error))}[/yellow]")
        return ProbeResult(probe, None, None)
    if minus is not None:
        measured = {chunk: measured[chunk] - minus[chunk] for chunk in draw.chunks}
    return ProbeResult(probe, *draw.mean(measured))


def _records(measurer: Measurer, results: Sequence[ProbeResult], probing: Probing) -> list[SensitivityRecord]:
    model_id = measurer.model_id
    return [
        SensitivityRecord(
            model_id=model_id,
            text_id=measurer.text.text_id,
            settings_key=measurer.text.settings_key,
            unit=result.probe.subject,
            probe_type=result.probe.tensor_type,
            base=probing.base.name,
            kld=result.kld,
            standard_error=result.standard_error,
            source="measured" if result.standard_error is not None else "imported",
        )
        for result in results
        if result.kld is not None
    ]


def _base(plan: Plan, probe_type: str) -> ProbeBase:
    wanted = plan.config.probe_base
    too_large = plan.model.size_bytes > SOURCE_MEMORY_SHARE * psutil.virtual_memory().total
    if wanted == "source" or (wanted == "auto" and not too_large):
        return _source_base(plan)
    base = _budget_base(plan, probe_type)
    if base is None and wanted == "budget":
        raise ConfigError(
            f"probe_base=budget: no uniform type above {probe_type} fits the budget {plan.budgets[0].text}; "
            "probe from the source, or raise the budget"
        )
    return base or _source_base(plan)


def _source_base(plan: Plan) -> ProbeBase:
    return ProbeBase("source", Recipe({name: plan.model.by_name[name].tensor_type for name in plan.parameters}), True)


def _budget_base(plan: Plan, probe_type: str) -> ProbeBase | None:
    """The largest uniform type that fits the first budget and lies above the probe type."""
    budget = plan.budgets[0].n_bytes
    for name in reversed(plan.tensor_types):
        if type_of(name).bits_per_weight <= type_of(probe_type).bits_per_weight:
            return None
        recipe = Recipe({tensor: plan.resolve(tensor, name) for tensor in plan.parameters})
        if plan.sizes.file_size(recipe, plain=False) <= budget:
            return ProbeBase(name, recipe, False)
    return None
