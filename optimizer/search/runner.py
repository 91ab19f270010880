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
from rich.markup import escape

from evaluators.process import EvaluatorProcess
from optimizer.progress import Reporter
from optimizer.quantization.weight_error import weight_errors
from optimizer.search.bench import Bench, EvaluatorFactory, OpenScorer, open_bench, probe_chunks
from optimizer.search.best import RIVALS_ONLY
from optimizer.search.claiming import kept_settings, open_study, take_lease
from optimizer.search.context import Limits, SearchContext, StopRequested
from optimizer.search.coordinator import TrialLoop
from optimizer.search.gate import open_gate
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import plan_probing, run_probes
from optimizer.search.prune_sets import BLOCK_INFLUENCE, PRUNE_SETS, PruneSet, measure_influence, probe_sets
from optimizer.search.prune_settings import candidate_layers
from optimizer.search.report import measurements_needed
from optimizer.search.rivals.weight_error import needed_errors
from optimizer.search.samplers import NEED_PROBES, NEED_WEIGHT_ERRORS
from optimizer.search.scoring import MeasuredText
from optimizer.search.stored_progress import StoredProgress
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.study_report import TOKENS_BEFORE_TRIALS, WIDER, study_report
from optimizer.search.texts import TextChoice, choose_texts, prepare_text
from optimizer.search.trial_lines import HEADER
from optimizer.search.wider import find_hints, keep_form
from optimizer.store import LeaseKeeper, NewEvent, Store, StudyRecord
from optimizer.store.records import TRIAL_STATES
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
    open_scorer: OpenScorer | None = None,
) -> Outcome:
    """Run or continue the study `name` until its trials and its report are there, or until it is asked to stop.

    open_scorer: what scores the recipes, in place of one evaluator that `evaluator_factory` makes.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # trials are shown by the reporter
    config = plan.config
    texts = choose_texts(config, beside)
    for choice in texts:
        if choice.bundled:
            reporter.line(
                f"[yellow]using the bundled {choice.path.name}; text like your readers' own is better[/yellow]"
            )
    with workplace.open_store() as store:
        store.wait_when_away(config.database_wait, lambda text: reporter.line(f"[yellow]{escape(text)}[/yellow]"))
        study = open_study(store, plan, name, texts)
        if is_done(store, study, plan):
            return Outcome(study, True)
        lease = take_lease(store, study, reporter)
        options = {unit.name: [option.name for option in unit.options] for unit in plan.space.units}
        tracking = config.tracking
        mirrors = Mirrors(store, workplace.studies, study.id, options, mlflow=tracking.mlflow, optuna=tracking.optuna)
        with LeaseKeeper(store, lease), mirrors:
            progress = StoredProgress(reporter, store, lease, dict(study.progress or {}))
            context = SearchContext(store, study, lease, plan, progress, interrupted)
            record = store.model(study.model_id)
            try:
                with open_bench(
                    plan, workplace, store, record, progress, evaluator_factory,
                    open_scorer=open_scorer, facts=progress,
                ) as bench:  # fmt: skip
                    _run_phases(context, bench, workplace, texts, mirrors.notify)
            except (StopRequested, KeyboardInterrupt):
                store.update_study(lease, state="paused")
                return Outcome(store.study(study.id), False)
            except Exception as error:
                store.update_study(lease, state="failed", phase=f"failed: {error}"[:500])
                raise
        return Outcome(store.study(study.id), True)


def is_done(store: Store, study: StudyRecord, plan: Plan) -> bool:
    """Finished for these settings: no more trials asked for than before, no more hours and no more tokens."""
    if study.state != "finished":
        return False
    asked_before = max(study.target_trials or 0, store.count_trials(study.id))
    hours, hours_before = plan.config.hours, study.config.get("hours")
    more_time = hours_before is not None and (hours is None or hours > hours_before)
    tokens, tokens_before = plan.config.tokens, study.config.get("tokens")
    more_time |= tokens_before is not None and (tokens is None or tokens > tokens_before)
    more_trials = plan.config.trials * len(plan.budgets) > asked_before
    return not more_trials and not (more_time and store.count_trials(study.id) < asked_before)


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
        config=kept_settings(plan, texts),
        target_trials=plan.config.trials * len(plan.budgets),
        events=[NewEvent("study.started")] if context.study.state == "created" else [],
    )
    context.reporter.keep(RIVALS_ONLY, sorted(plan.rivals_only))
    started = time.monotonic()
    search_text = _prepare(context, bench, workplace, texts[0], settings.chunks, "search text")
    noise = _noise_floor(context, bench, search_text)
    measurer = bench.measurer(context.lease, search_text, context.reporter)
    prior = errors = None
    if plan.config.sampler in NEED_WEIGHT_ERRORS:
        reporter.phase("weight errors", 1)
        quantization = plan.config.quantization
        errors = weight_errors(
            plan.model, needed_errors(plan.space), plan.imatrix,
            allow_requantize=quantization.allow_requantize, threads=quantization.threads,
        )  # fmt: skip
    if plan.config.sampler in NEED_PROBES:
        sensitivities = _probe(context, bench, measurer)
        prior = make_prior(plan.space, sensitivities)
        reporter.keep(WIDER, keep_form(find_hints(plan, sensitivities)))
    if not store.count_trials(context.study.id, TRIAL_STATES):
        reporter.keep(TOKENS_BEFORE_TRIALS, store.study(context.study.id).tokens_evaluated)
    behaviours = StudyBehaviours(context, bench, plan.prompts) if plan.prompts else None
    gate = open_gate(context, bench, workplace, plan.prompts, behaviours)
    reporter.line(f"[bold]{HEADER}[/bold]")
    prune_sets = _prune_sets(context, bench, measurer)
    interrupted = store.reconcile(context.lease)
    for index, budget in enumerate(plan.budgets):
        store.update_study(context.lease, phase=f"search at {budget.text}")
        limits = Limits(_deadline(plan, started, index), _token_limit(context, index))
        loop = TrialLoop(context, measurer, budget, prior, notify, limits, errors, gate, prune_sets)
        loop.run([each for each in interrupted if each.trial.budget_bytes == budget.n_bytes])
    _report(context, bench, workplace, texts, noise, behaviours)


def _deadline(plan: Plan, started: float, index: int) -> float | None:
    """time.monotonic() at which a budget's proposals end: an equal share of the hours that are left."""
    if plan.config.hours is None:
        return None
    now = time.monotonic()
    return now + max(0.0, started + plan.config.hours * 3600 - now) / (len(plan.budgets) - index)


def _token_limit(context: SearchContext, index: int) -> int | None:
    """Evaluated tokens of the study at which a budget's proposals end: an equal share of those that are left."""
    tokens, budgets = context.plan.config.tokens, len(context.plan.budgets)
    if tokens is None:
        return None
    spent = context.store.study(context.study.id).tokens_evaluated
    return spent + max(0, tokens - spent) // (budgets - index)


def _prepare(
    context: SearchContext, bench: Bench, workplace: Workplace, choice: TextChoice, chunks: int, title: str
) -> MeasuredText:
    context.check_stop()
    context.reporter.phase(f"reference: {title}", chunks)
    text = prepare_text(bench, choice, chunks, lambda done, _: context.reporter.advance(done))
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
    if known is not None and context.reporter.kept("noise_floor_of") == str(text.reference):
        return float(known)
    context.reporter.phase("noise floor", 1)
    chunks = list(range(min(NOISE_CHUNKS, text.n_chunks)))
    floor = bench.scorer.noise_floor(text, chunks)
    context.reporter.keep("noise_floor_of", str(text.reference))
    context.reporter.keep("noise_floor_kld", floor.mean_kld)
    return floor.mean_kld


def _probe(context: SearchContext, bench: Bench, measurer: Measurer) -> Sensitivities:
    plan = context.plan
    context.store.update_study(context.lease, phase="probes")
    probing = plan_probing(plan)
    imported = {
        (each.unit, each.probe_type): each.kld
        for each in context.store.sensitivities(measurer.model_id, measurer.text.text_id, measurer.text.settings_key)
        if each.source == "imported" and each.base == probing.base.name
    }
    return run_probes(
        plan, probing, measurer, context.store, probe_chunks(plan.config, measurer.text.n_chunks),
        context.reporter, context.check_stop, imported,
    )  # fmt: skip


def _prune_sets(context: SearchContext, bench: Bench, measurer: Measurer) -> tuple[PruneSet, ...]:
    """The layers that may be left out, probed; nothing is measured where pruning is off."""
    plan, named = context.plan, context.plan.config.prune_candidates
    if not plan.config.prune:
        return ()
    context.check_stop()
    context.store.update_study(context.lease, phase="prune probes")
    influences = measure_influence(plan.model, measurer, context.reporter) if isinstance(named, int) else ()
    return probe_sets(
        candidate_layers(plan.config, influences), plan.config.prune, plan_probing(plan).base, measurer,
        probe_chunks(plan.config, measurer.text.n_chunks), context.reporter, context.check_stop,
    )  # fmt: skip


def _report(
    context: SearchContext,
    bench: Bench,
    workplace: Workplace,
    texts: tuple[TextChoice, TextChoice],
    noise: float,
    behaviours: StudyBehaviours | None,
) -> None:
    plan, store, reporter = context.plan, context.store, context.reporter
    settings = plan.config.evaluation
    store.update_study(context.lease, phase="report")
    searched, choice = texts
    text = _prepare(context, bench, workplace, choice, settings.report_chunks or settings.chunks, "report text")
    measurer = bench.measurer(context.lease, text, reporter)
    more = (behaviours is not None) + 2 * (plan.config.prune > 0)
    reporter.phase("report", measurements_needed(plan) + len(plan.budgets) * more)
    done = 0

    def step(label: str) -> None:
        nonlocal done
        context.check_stop()
        reporter.advance(done, label)
        done += 1

    progress = {name: reporter.kept(name) for name in (WIDER, TOKENS_BEFORE_TRIALS, BLOCK_INFLUENCE, PRUNE_SETS)}
    found = study_report(plan, store, context.study, measurer, progress, step, behaviours)
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
        "search_text": searched.as_json(),
        "report_text": {**choice.as_json(), "chunks": text.n_chunks},
        "engine": asdict(bench.scorer.engine()),
        "noise_floor_kld": noise,
        **found,
    }
    store.update_study(
        context.lease, state="finished", phase="finished", report=report, events=[NewEvent("study.finished", {})]
    )
