"""Run or continue a study: opens everything a search needs, takes the phases in order, and closes it all again.

plan -> reference -> noise floor -> probes -> trials of each budget -> report. Each phase finds in the store what an
earlier run has done of it.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna

from evaluators.evaluator import Evaluator
from evaluators.noise_floor import measure_noise_floor
from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.errors import ConfigError, StorageError
from optimizer.progress import Reporter
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.worker import QuantizationWorker
from optimizer.search.budget import show_bytes
from optimizer.search.building import CandidateBuilder
from optimizer.search.coordinator import SearchContext, StopRequested, TrialLoop
from optimizer.search.measuring import MeasuredText, Measurer
from optimizer.search.planning import Plan
from optimizer.search.prior import make_prior
from optimizer.search.probes import Sensitivities
from optimizer.search.probing import Probing, plan_probing, run_probes
from optimizer.search.report import budget_report, measurements_needed, winner
from optimizer.search.stored_progress import StoredProgress
from optimizer.search.texts import TextChoice, check_distinct, choose_text, prepare_text
from optimizer.search.trial_lines import HEADER
from optimizer.store import Lease, LeaseKeeper, ModelRecord, NewEvent, Store, StudyHeld, StudyRecord
from optimizer.store.holder import current_holder
from optimizer.tracking.mirrors import Mirrors
from optimizer.workplace import Workplace

NOISE_CHUNKS = 8
WAIT_SECONDS = 5.0
FREE_DISK_SHARE = 0.8
EvaluatorFactory = Callable[[RuntimeSettings], Evaluator]


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
            try:
                with _bench(context, workplace, evaluator_factory) as bench:
                    _run_phases(context, bench, workplace, texts, mirrors.notify)
            except (StopRequested, KeyboardInterrupt):
                store.update_study(lease, state="paused")
                return Outcome(store.study(study.id), False)
            except Exception as error:
                store.update_study(lease, state="failed", phase=f"failed: {error}"[:500])
                raise
        return Outcome(store.study(study.id), True)


def open_study(store: Store, plan: Plan, name: str, texts: tuple[TextChoice, TextChoice]) -> StudyRecord:
    """The study of this name, made now or found; refused when a setting differs from what it was started with."""
    record = add_model(store, plan)
    kept = {**plan.config.model_dump(mode="json"), "texts": [choice.sha256 for choice in texts]}
    study = store.find_study(name)
    if study is None:
        return store.create_study(name, record.id, kept, seed=plan.config.seed)
    before = SearchConfig.model_validate({key: value for key, value in study.config.items() if key != "texts"})
    changed = [each for each in before.differences(plan.config) if not each.startswith(("model:", "study:"))]
    if study.model_id != record.id:
        changed.append(f"model: the study searches {store.model(study.model_id).path}, not {plan.model.paths[0]}")
    if study.config.get("texts") != kept["texts"]:
        changed.append("texts: the files' contents are not those the study was started with")
    if changed:
        raise ConfigError(
            f"study {name} was started with other settings: {'; '.join(changed)}. "
            "Continue it with the old ones, or start another study with --study NAME"
        )
    return study


def add_model(store: Store, plan: Plan) -> ModelRecord:
    model = plan.model
    return store.add_model(
        fingerprint=model.fingerprint,
        name=model.name,
        path=str(model.paths[0].resolve()),
        architecture=model.architecture,
        n_layer=model.n_layer,
        size_bytes=model.size_bytes,
    )


def take_lease(store: Store, study: StudyRecord, reporter: Reporter) -> Lease:
    """The right to write to the study. On this host a living holder is refused at once; on another it is waited for."""
    announced = False
    while True:
        try:
            return store.acquire_lease(study.id)
        except StudyHeld as held:
            if held.holder.host == current_holder().host:
                raise
            if not announced:
                reporter.line(f"[yellow]{held}; waiting for it[/yellow]")
                announced = True
            time.sleep(WAIT_SECONDS)


@dataclass(frozen=True)
class Bench:
    """What scores and builds candidates during one run."""

    evaluator: Evaluator
    builder: CandidateBuilder
    model: ModelRecord

    def measurer(self, context: SearchContext, text: MeasuredText) -> Measurer:
        return Measurer(
            context.store, context.lease, self.evaluator, self.builder.build, self.model,
            context.plan.sizes, text, context.reporter,
        )  # fmt: skip


@contextmanager
def _bench(context: SearchContext, workplace: Workplace, factory: EvaluatorFactory) -> Iterator[Bench]:
    plan = context.plan
    bank = open_bank(plan, workplace, context.reporter)
    evaluator = factory(runtime_settings(plan.config))
    try:
        with QuantizationWorker(plan.model, plan.presets.quantizable, bank, plan.imatrix) as worker:
            yield Bench(evaluator, CandidateBuilder(worker), context.store.model(context.study.model_id))
    finally:
        evaluator.close()


def open_bank(plan: Plan, workplace: Workplace, reporter: Reporter) -> ShardBank:
    """The shard bank, with a cap that the disk can bear. Raises StorageError when not even two candidates fit."""
    settings = plan.config.quantization
    workplace.prepare()
    free = shutil.disk_usage(workplace.studies).free
    needed = plan.bank_bytes()
    cap = int(settings.bank_gib * 2**30) if settings.bank_gib else None
    bank = ShardBank(
        workplace.bank_folder, cap_bytes=cap, threads=settings.threads, allow_requantize=settings.allow_requantize
    )
    at_hand = free + bank.stats().bytes
    if cap is None and needed > FREE_DISK_SHARE * at_hand:
        cap = int(FREE_DISK_SHARE * at_hand)
        if cap < 2 * plan.budgets[-1].n_bytes:
            raise StorageError(
                f"{workplace.bank_folder}: {show_bytes(free)} are free, and two candidates of "
                f"{show_bytes(plan.budgets[-1].n_bytes)} must fit; free some space, or name another disk: --bank DIR"
            )
        reporter.line(
            f"[yellow]all shards would take {show_bytes(needed)}; the bank is kept below {show_bytes(cap)} "
            "and makes the least recently used ones again[/yellow]"
        )
        bank.cap_bytes = cap
    return bank


def runtime_settings(config: SearchConfig) -> RuntimeSettings:
    """The evaluator's settings of a search."""
    values = config.evaluation.model_dump(exclude={"chunks", "report_chunks", "probe_chunks", "first_rung", "repack"})
    return RuntimeSettings(**values, use_extra_bufts=config.evaluation.repack)


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
    measurer = bench.measurer(context, search_text)
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


def probe_chunks(config: SearchConfig, available: int) -> int:
    """Chunks a probe: as set, else half of the text in whole batches."""
    batch = runtime_settings(config).n_sequences
    wanted = config.evaluation.probe_chunks or -(-config.evaluation.chunks // (2 * batch)) * batch
    return min(wanted, available)


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
    measurer = bench.measurer(context, text)
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


def probe_only(
    plan: Plan, workplace: Workplace, reporter: Reporter, given: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Measure a plan's sensitivities without a study; `given` rows are kept as imported and not measured again.

    Returns one row a probe: unit, tensor_type, kld, standard_error, base, source.
    """
    choice = choose_text(plan.config.search_text, "search")
    if choice.bundled:
        reporter.line(f"[yellow]using the bundled {choice.path.name}; text like your readers' own is better[/yellow]")
    with workplace.open_store() as store:
        model = add_model(store, plan)
        evaluator = EvaluatorProcess(runtime_settings(plan.config))
        bank = open_bank(plan, workplace, reporter)
        try:
            with QuantizationWorker(plan.model, plan.presets.quantizable, bank, plan.imatrix) as worker:
                builder = CandidateBuilder(worker)
                reporter.phase("reference: search text", plan.config.evaluation.chunks)
                text = prepare_text(
                    store, evaluator, plan.model, choice, plan.config.evaluation.chunks, workplace.references,
                    lambda done, _: reporter.advance(done),
                )  # fmt: skip
                measurer = Measurer(store, None, evaluator, builder.build, model, plan.sizes, text, reporter)
                probing = plan_probing(plan)
                imported = {(row["unit"], row["tensor_type"]): row["kld"] for row in given}
                _check_units(probing, imported)
                chunks = probe_chunks(plan.config, text.n_chunks)
                run_probes(plan, probing, measurer, store, chunks, reporter, lambda: None, builder.prefetch, imported)
        finally:
            evaluator.close()
        wanted = {(probe.subject, probe.tensor_type) for probe in probing.probes}
        return [
            {
                "unit": each.unit,
                "tensor_type": each.probe_type,
                "kld": each.kld,
                "standard_error": each.standard_error,
                "base": each.base,
                "source": each.source,
            }
            for each in store.sensitivities(model.id, text.text_id, text.settings_key)
            if (each.unit, each.probe_type) in wanted
        ]


def _check_units(probing: Probing, imported: Mapping[tuple[str, str], float]) -> None:
    known = {(probe.subject, probe.tensor_type) for probe in probing.probes}
    strange = sorted(set(imported) - known)
    if strange:
        unit, tensor_type = strange[0]
        raise ConfigError(
            f"the table of sensitivities names {unit} at {tensor_type}, which is no probe of this model and these "
            f"types ({len(strange)} such rows); was it made for another model?"
        )
