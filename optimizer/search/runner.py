"""Run or continue a study: opens everything a search needs, takes the phases in order, and closes it all again.

plan -> reference -> noise floor -> probes -> trials of each budget -> report. Each phase finds in the store what an
earlier run has done of it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from evaluators.noise_floor import measure_noise_floor
from evaluators.process import EvaluatorProcess
from optimizer.progress import Reporter
from optimizer.search.bench import Bench, EvaluatorFactory, open_bench, probe_chunks
from optimizer.search.claiming import open_study, take_lease
from optimizer.search.coordinator import SearchContext, StopRequested, TrialLoop
from optimizer.search.measuring import MeasuredText, Measurer
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import plan_probing, run_probes
from optimizer.search.report import budget_report, measurements_needed, winner
from optimizer.search.stored_progress import StoredProgress
from optimizer.search.texts import TextChoice, check_distinct, choose_text, prepare_text
from optimizer.search.trial_lines import HEADER
from optimizer.store import LeaseKeeper, NewEvent, StudyRecord
from optimizer.tracking.mirrors import Mirrors
from optimizer.workplace import Workplace

NOISE_CHUNKS = 8


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `finished` with its report, or paused with everything kept."""

    study: StudyRecord
    finished: bool


def run_search(
    plan: Plan,
    workplace: Workplace,
    reporter: Reporter,
    interrupted: list[bool],
    *,
    name: str,
    beside: Path | None = None,
    evaluator_factory: EvaluatorFactory = EvaluatorProcess,
) -> Outcome:
    """Run or continue the study `name` until its trials and its report are there, or until it is asked to stop."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # trials are shown by the reporter
    config = plan.config
    texts = (
        choose_text(config.search_text, "search", beside=beside),
        choose_text(config.report_text, "report", beside=beside),
    )
    check_distinct(*texts)
    for choice in texts:
        if choice.bundled:
            reporter.line(
                f"[yellow]using the bundled {choice.path.name}; text like your readers' own is better[/yellow]"
            )
    with workplace.open_store() as store:
        study = open_study(store, plan, name, texts)
        target = config.trials * len(plan.budgets)
        if study.state == "finished" and store.count_trials(study.id) >= target:
            return Outcome(study, True)
        lease = take_lease(store, study, reporter)
        options = {unit.name: [option.name for option in unit.options] for unit in plan.space.units}
        tracking = config.tracking
        mirrors = Mirrors(store, workplace.studies, study.id, options, mlflow=tracking.mlflow, optuna=tracking.optuna)
        with LeaseKeeper(store, lease), mirrors:
            deadline = time.monotonic() + config.hours * 3600 if config.hours else None
            progress = StoredProgress(reporter, store, lease, dict(study.progress or {}))
            context = SearchContext(store, study, lease, plan, progress, deadline, interrupted)
            record = store.model(study.model_id)
            try:
                with open_bench(plan, workplace, store, record, progress, evaluator_factory) as bench:
                    _run_phases(context, bench, workplace, texts, mirrors.notify)
            except (StopRequested, KeyboardInterrupt):
                store.update_study(lease, state="paused")
                return Outcome(store.study(study.id), False)
            except Exception as error:
                store.update_study(lease, state="failed", phase=f"failed: {error}"[:500])
                raise
        return Outcome(store.study(study.id), True)


def _run_phases(
    context: SearchContext,
    bench: Bench,
    workplace: Workplace,
    texts: tuple[TextChoice, TextChoice],
    notify: Callable[[], None],
) -> None:
    plan, store, reporter = context.plan, context.store, context.reporter
    settings = plan.config.evaluation
    store.update_study(
        context.lease,
        state="running",
        phase="reference",
        config={**context.study.config, **plan.config.model_dump(mode="json")},
        target_trials=plan.config.trials * len(plan.budgets),
        events=[NewEvent("study.started")] if context.study.state == "created" else [],
    )
    search_text = _prepare(context, bench, workplace, texts[0], settings.chunks, "search text")
    noise = _noise_floor(context, bench, search_text)
    measurer = bench.measurer(context.lease, search_text, context.reporter)
    sensitivities = _probe(context, bench, measurer)
    prior = make_prior(plan.space, sensitivities)
    reporter.line(f"[bold]{HEADER}[/bold]")
    for budget in plan.budgets:
        store.update_study(context.lease, phase=f"search at {budget.text}")
        TrialLoop(context, measurer, budget, prior, bench.builder.prefetch, notify).run()
    _report(context, bench, workplace, texts[1], noise)


def _prepare(
    context: SearchContext, bench: Bench, workplace: Workplace, choice: TextChoice, chunks: int, title: str
) -> MeasuredText:
    context.check_stop()
    context.reporter.phase(f"reference: {title}", chunks)
    text = prepare_text(
        context.store, bench.evaluator, context.plan.model, choice, chunks, workplace.references,
        lambda done, _: context.reporter.advance(done),
    )  # fmt: skip
    if text.n_chunks < chunks:
        context.reporter.line(
            f"[yellow]{choice.path.name} has {text.n_chunks} chunks of {text.tokens_per_chunk} tokens, not {chunks}; "
            "all of them are used[/yellow]"
        )
    return text


def _noise_floor(context: SearchContext, bench: Bench, text: MeasuredText) -> float:
    """The reference against itself, over other batch shapes and thread counts; kept with the study."""
    context.check_stop()
    known = context.reporter.kept("noise_floor_kld")
    if known is not None:
        return float(known)
    context.reporter.phase("noise floor", 1)
    chunks = list(range(min(NOISE_CHUNKS, text.n_chunks)))
    floor = measure_noise_floor(bench.evaluator, context.plan.model.paths, text.reference, chunks)
    context.reporter.keep("noise_floor_kld", floor.mean_kld)
    return floor.mean_kld


def _probe(context: SearchContext, bench: Bench, measurer: Measurer) -> Sensitivities:
    plan = context.plan
    context.store.update_study(context.lease, phase="probes")
    imported = {
        (each.unit, each.probe_type): each.kld
        for each in context.store.sensitivities(measurer.model_id, measurer.text.text_id, measurer.text.settings_key)
        if each.source == "imported"
    }
    return run_probes(
        plan, plan_probing(plan), measurer, context.store, probe_chunks(plan.config, measurer.text.n_chunks),
        context.reporter, context.check_stop, bench.builder.prefetch, imported,
    )  # fmt: skip


def _report(context: SearchContext, bench: Bench, workplace: Workplace, choice: TextChoice, noise: float) -> None:
    plan, store, reporter = context.plan, context.store, context.reporter
    settings = plan.config.evaluation
    store.update_study(context.lease, phase="report")
    text = _prepare(context, bench, workplace, choice, settings.report_chunks or settings.chunks, "report text")
    measurer = bench.measurer(context.lease, text, reporter)
    reporter.phase("report", measurements_needed(plan))
    done = 0

    def step(label: str) -> None:
        nonlocal done
        context.check_stop()
        reporter.advance(done, label)
        done += 1

    objects = [
        budget_report(plan, budget, winner(store, context.study, budget), store, measurer, step)
        for budget in plan.budgets
    ]
    first = objects[0]
    report: dict[str, Any] = {
        "study": context.study.name,
        "model": {
            "name": plan.model.name,
            "path": str(plan.model.paths[0]),
            "architecture": plan.model.architecture,
            "n_layer": plan.model.n_layer,
            "parameters": plan.model.n_elements,
            "size_bytes": plan.model.size_bytes,
        },
        "report_text": {"path": str(choice.path), "sha256": choice.sha256, "chunks": text.n_chunks},
        "engine": asdict(bench.evaluator.engine()),
        "reference_perplexity": first["best"]["reference_perplexity"],
        "noise_floor_kld": noise,
        "tokens_evaluated": store.study(context.study.id).tokens_evaluated,
        **(first if len(objects) == 1 else {}),
        "fronts": objects if len(objects) > 1 else None,
    }
    store.update_study(
        context.lease, state="finished", phase="finished", report=report, events=[NewEvent("study.finished", {})]
    )
