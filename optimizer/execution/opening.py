"""Open what `--workers` or `--cluster` asks for, as the scorer of a search."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from evaluators.evaluator import EngineInfo, Evaluator
from evaluators.process import EvaluatorProcess
from evaluators.settings import RuntimeSettings
from optimizer.execution.executor import Executor
from optimizer.execution.job_scorer import JobScorer
from optimizer.execution.local import LocalExecutor
from optimizer.execution.node import Node, WorkerFacts
from optimizer.execution.node_settings import NodeSettings
from optimizer.execution.roster import NOBODY_SECONDS, Roster
from optimizer.execution.setup import FileName, StudySetup
from optimizer.execution.tls import Certificates
from optimizer.progress import Reporter
from optimizer.search.at_work import AT_WORK
from optimizer.search.bench import OpenScorer, open_bank, runtime_settings
from optimizer.search.facts import Facts
from optimizer.search.identity import ENGINE, kept_threads, show_engine
from optimizer.search.planning import Plan
from optimizer.search.scoring import Scorer
from optimizer.settings import ExecutionSettings
from optimizer.workplace import Workplace


def open_scorer(
    settings: ExecutionSettings, factory: Callable[[RuntimeSettings], Evaluator] = EvaluatorProcess
) -> OpenScorer | None:
    """None where one evaluator in this process is all that is asked for. factory: of evaluators on this machine."""
    if settings.cluster is not None:
        address = settings.cluster
        certificates = Certificates.of(address, settings.tls_ca, settings.tls_cert, settings.tls_key)
        return lambda plan, _, reporter, facts: _open_cluster(plan, address, certificates, reporter, facts)
    if settings.workers > 1:
        return lambda plan, workplace, reporter, facts: _open_local(
            plan, workplace, settings.workers, factory, reporter, facts
        )
    return None


@contextmanager
def _open_local(
    plan: Plan,
    workplace: Workplace,
    workers: int,
    factory: Callable[[RuntimeSettings], Evaluator],
    reporter: Reporter,
    facts: Facts,
) -> Iterator[Scorer]:
    bank = open_bank(plan, workplace, reporter)  # for its checks, and its cap
    cap = bank.cap_bytes / 2**30 if bank.cap_bytes is not None else None
    bank.close()
    own = runtime_settings(plan.config)
    threads = own.threads or kept_threads(facts) or max(1, own.resolved_threads() // workers)
    node = NodeSettings(str(workplace.studies.absolute()), str(workplace.bank_folder.absolute()), bank_gib=cap)
    executor = LocalExecutor([Node(node, factory) for _ in range(workers)])
    with open_executor(plan, executor, lambda found: threads, reporter, facts, patience=0.0) as scorer:
        yield scorer


def _open_cluster(
    plan: Plan, address: str, certificates: Certificates | None, reporter: Reporter, facts: Facts
) -> AbstractContextManager[Scorer]:
    from optimizer.execution.cluster import DaskExecutor  # Dask takes its time

    def threads(found: Mapping[str, WorkerFacts]) -> int:
        return plan.config.evaluation.threads or kept_threads(facts) or min(each.threads for each in found.values())

    return open_executor(plan, DaskExecutor(address, certificates), threads, reporter, facts, patience=NOBODY_SECONDS)


@contextmanager
def open_executor(
    plan: Plan,
    executor: Executor,
    threads: Callable[[Mapping[str, WorkerFacts]], int],
    reporter: Reporter,
    facts: Facts,
    *,
    patience: float,
) -> Iterator[Scorer]:
    """Engine and threads are those that the study began with; of a new one, what most of its workers have."""
    setup = _setup(plan)
    try:
        roster = Roster(
            executor, setup, reporter.line, patience, counted=lambda found: facts.keep(AT_WORK, found.as_json())
        )
        found = {name: each for name, each in roster.settle().items() if each.engine is not None}
        engine = _engine(found, facts.kept(ENGINE), roster)
        roster.choose(engine)
        fit = {name: each for name, each in found.items() if each.engine == engine}
        settings = replace(setup.settings, threads=threads(fit))
        reporter.line(f"{len(fit)} evaluators, {settings.threads} threads each: {', '.join(engine.devices)}")
        yield JobScorer(
            executor, roster, replace(setup, settings=settings, engine=engine.identity), engine, reporter.line
        )
    finally:
        executor.close()


def _engine(found: Mapping[str, WorkerFacts], kept: str | None, roster: Roster) -> EngineInfo:
    engines = [each.engine for each in found.values() if each.engine is not None]
    if kept is not None:
        engines = [each for each in engines if each.identity == kept] or engines[:0]
    if not engines:
        if kept is not None:
            for name, each in found.items():
                assert each.engine is not None
                roster.refuse(name, f"its engine is not the one that the study began with: {show_engine(each.engine)}")
        raise roster.nobody()
    return Counter(engines).most_common(1)[0][0]


def _setup(plan: Plan) -> StudySetup:
    imatrix = None
    if plan.imatrix is not None:
        imatrix = FileName(plan.imatrix.sha256, str(plan.imatrix.path.absolute()))
    return StudySetup(
        fingerprint=plan.model.fingerprint,
        model_bytes=plan.model.size_bytes,
        model_paths=tuple(str(path.absolute()) for path in plan.model.paths),
        quantizable=tuple(plan.presets.quantizable),
        imatrix=imatrix,
        settings=runtime_settings(plan.config),
        allow_requantize=plan.config.quantization.allow_requantize,
    )
