"""What scores and builds candidates during one run: evaluator, shard bank and quantization worker."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from evaluators.evaluator import Evaluator
from evaluators.settings import RuntimeSettings
from optimizer.config import SearchConfig
from optimizer.errors import StorageError
from optimizer.progress import Reporter
from optimizer.quantization.bank import ShardBank
from optimizer.quantization.open_files import raise_open_file_limit
from optimizer.quantization.worker import QuantizationWorker
from optimizer.search.at_work import AT_WORK, AtWork
from optimizer.search.budget import show_bytes
from optimizer.search.building import CandidateBuilder
from optimizer.search.facts import Facts, ForgottenFacts
from optimizer.search.identity import kept_threads
from optimizer.search.local_scorer import LocalScorer, has_idle_cores
from optimizer.search.measuring import Measurer
from optimizer.search.planning import Plan
from optimizer.search.scoring import MeasuredText, Scorer
from optimizer.store import Lease, ModelRecord, Store
from optimizer.workplace import Workplace

FREE_DISK_SHARE = 0.8
POOL_TEXTS = 3
"""Chunks that those of trials are drawn from, as many times theirs."""
EvaluatorFactory = Callable[[RuntimeSettings], Evaluator]


@dataclass(frozen=True)
class Bench:
    plan: Plan
    store: Store
    model: ModelRecord
    scorer: Scorer

    def measurer(self, lease: Lease | None, text: MeasuredText, reporter: Reporter) -> Measurer:
        return Measurer(self.store, lease, self.scorer, self.model, self.plan.sizes, text, reporter)


class OpenScorer(Protocol):
    """Opens what scores a plan's recipes, for as long as a `with` block lasts. `facts` are kept with the study."""

    def __call__(
        self, plan: Plan, workplace: Workplace, reporter: Reporter, facts: Facts
    ) -> AbstractContextManager[Scorer]: ...


def open_here(factory: EvaluatorFactory) -> OpenScorer:
    """One evaluator of that making, in this process' care, and a quantization worker."""

    @contextmanager
    def opened(plan: Plan, workplace: Workplace, reporter: Reporter, facts: Facts) -> Iterator[Scorer]:
        bank = open_bank(plan, workplace, reporter)
        raise_open_file_limit()  # the evaluator's process inherits it
        settings = runtime_settings(plan.config)
        facts.keep(AT_WORK, AtWork(1, 1).as_json())
        evaluator = factory(replace(settings, threads=settings.threads or kept_threads(facts)))
        try:
            with QuantizationWorker(plan.model, plan.presets.quantizable, bank, plan.imatrix) as worker:
                builder = CandidateBuilder(worker, ahead=has_idle_cores(evaluator.settings))
                yield LocalScorer(evaluator, builder, plan.model, workplace.references)
        finally:
            evaluator.close()
            bank.close()

    return opened


@contextmanager
def open_bench(
    plan: Plan,
    workplace: Workplace,
    store: Store,
    model: ModelRecord,
    reporter: Reporter,
    factory: EvaluatorFactory,
    *,
    open_scorer: OpenScorer | None = None,
    facts: Facts | None = None,
) -> Iterator[Bench]:
    """Everything is closed at the end, whatever happened. open_scorer: in place of one evaluator made by `factory`."""
    opener = open_scorer or open_here(factory)
    with opener(plan, workplace, reporter, facts or ForgottenFacts()) as scorer:
        yield Bench(plan, store, model, scorer)


def open_bank(plan: Plan, workplace: Workplace, reporter: Reporter) -> ShardBank:
    """The shard bank, with a cap that the disk can bear. Raises StorageError when not even two candidates fit."""
    settings = plan.config.quantization
    workplace.prepare()
    needed = plan.bank_bytes() + plan.model.size_bytes  # probes from the source copy its tensors into the bank
    cap = int(settings.bank_gib * 2**30) if settings.bank_gib else None
    bank = ShardBank(
        workplace.bank_folder, cap_bytes=cap, threads=settings.threads, allow_requantize=settings.allow_requantize
    )
    free = shutil.disk_usage(bank.root).free
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
    texts = {"chunks", "pool_chunks", "report_chunks", "probe_chunks", "final_chunks", "first_rung"}
    values = config.evaluation.model_dump(exclude=texts | {"repack"})
    return RuntimeSettings(**values, use_extra_bufts=config.evaluation.repack)


def pool_chunks(config: SearchConfig, available: int) -> int:
    """Chunks of search text that probes see and trials' are drawn from; what is left of the text is for the finals."""
    chunks = config.evaluation.chunks
    return max(chunks, min(config.evaluation.pool_chunks or POOL_TEXTS * chunks, available // 2))


def probe_chunks(config: SearchConfig, available: int) -> int:
    """Chunks a probe: as set, else a sixth of the text in whole batches."""
    batch = runtime_settings(config).n_sequences
    wanted = config.evaluation.probe_chunks or -(-config.evaluation.chunks // (6 * batch)) * batch
    return min(wanted, available)
