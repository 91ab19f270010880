"""Run or continue a study: opens everything a search needs, takes the phases in order, and closes it all again.

plan -> reference -> noise floor -> probes -> trials of each budget -> report. Each phase finds in the store what an
earlier run has done of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from evaluators.process import EvaluatorProcess
from optimizer.progress import Reporter
from optimizer.quantization.weight_error import weight_errors
from optimizer.search.bench import Bench, EvaluatorFactory, OpenScorer, open_bench
from optimizer.search.best import RIVALS_ONLY
from optimizer.search.claiming import kept_settings, open_study, take_lease
from optimizer.search.context import Limits, SearchContext, StopRequested
from optimizer.search.coordinator import TrialLoop
from optimizer.search.early_phases import (
    draw_trials,
    measure_probes,
    measure_prune_sets,
    noise_floor,
    prepare_search_text,
)
from optimizer.search.finals import open_finals
from optimizer.search.gate import open_gate
from optimizer.search.hints import keep_form
from optimizer.search.identity import keep_identity
from optimizer.search.outages import wait_through_outages
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.report_phase import write_report
from optimizer.search.rivals.weight_error import needed_errors
from optimizer.search.samplers import NEED_PROBES, NEED_WEIGHT_ERRORS
from optimizer.search.second_probes import look_again
from optimizer.search.stored_progress import StoredProgress
from optimizer.search.study_behaviours import StudyBehaviours
from optimizer.search.texts import TextChoice, choose_texts
from optimizer.search.trial_findings import TOKENS_BEFORE_TRIALS, WIDER
from optimizer.search.trial_lines import HEADER
from optimizer.search.wider import find_hints
from optimizer.store import LeaseKeeper, NewEvent, Store, StudyRecord
from optimizer.store.records import TRIAL_STATES
from optimizer.tracking.mirrors import Mirrors
from optimizer.workplace import Workplace


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
        wait_through_outages(store, config, reporter)
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
    store.update_study(
        context.lease,
        state="running",
        phase="reference",
        config=kept_settings(plan, texts),
        target_trials=plan.config.trials * len(plan.budgets),
        events=[NewEvent("study.started")] if context.study.state == "created" else [],
    )
    context.reporter.keep(RIVALS_ONLY, sorted(plan.rivals_only))
    keep_identity(reporter, bench.scorer, store.count_trials(context.study.id))
    started = time.monotonic()
    search_text = prepare_search_text(context, bench, texts[0])
    noise = noise_floor(context, bench, search_text)
    whole_text = bench.measurer(context.lease, search_text, context.reporter)
    prior = errors = None
    if plan.config.sampler in NEED_WEIGHT_ERRORS:
        reporter.phase("weight errors", 1)
        quantization = plan.config.quantization
        errors = weight_errors(
            plan.model, needed_errors(plan.space), plan.imatrix,
            allow_requantize=quantization.allow_requantize, threads=quantization.threads,
        )  # fmt: skip
    if plan.config.sampler in NEED_PROBES:
        sensitivities = measure_probes(context, whole_text)
        prior = look_again(context, whole_text, make_prior(plan.space, sensitivities), sensitivities)
        reporter.keep(WIDER, keep_form(find_hints(plan, sensitivities)))
    measurer = draw_trials(context, whole_text)
    if not store.count_trials(context.study.id, TRIAL_STATES):
        reporter.keep(TOKENS_BEFORE_TRIALS, store.study(context.study.id).tokens_evaluated)
    behaviours = StudyBehaviours(context, bench, plan.prompts) if plan.prompts else None
    gate = open_gate(context, bench, workplace, plan.prompts, behaviours)
    reporter.line(f"[bold]{HEADER}[/bold]")
    prune_sets = measure_prune_sets(context, measurer)
    finals = open_finals(context, bench, texts[0], search_text.n_chunks)
    interrupted = store.reconcile(context.lease)
    for index, budget in enumerate(plan.budgets):
        store.update_study(context.lease, phase=f"search at {budget.text}")
        limits = Limits(_deadline(plan, started, index), _token_limit(context, index))
        loop = TrialLoop(context, measurer, budget, prior, notify, limits, errors, gate, prune_sets, finals)
        loop.run([each for each in interrupted if each.trial.budget_bytes == budget.n_bytes])
    write_report(context, bench, texts, noise, behaviours)


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
