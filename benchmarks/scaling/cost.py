"""Bytes and seconds of one search, from its plan and a few rates of the machine that runs it.

evaluations  one load a candidate: its bytes over the slower of disk and bus, where memory does not hold it already
decoding     tokens x active weights / (weights a second); outside of the GPU's memory, the bytes that do not fit
             cross the bus once a micro-batch
scoring      half of the tokens x vocabulary / (logits a second)
quantizing   weights of the shards / (weights a second and core of their type)
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from optimizer.search.bench import pool_chunks, probe_chunks
from optimizer.search.finals import FINAL_TEXTS
from optimizer.search.planning import Plan
from optimizer.search.probing import SOURCE_MEMORY_SHARE, plan_probing
from optimizer.search.second_probes import CHUNKS, most_second_probes

GB = 10**9
UBATCH = 512
RESERVED = 2 * GB
"""Of a GPU's memory: KV cache, logits of a batch, the compute buffer."""


@dataclass(frozen=True)
class Machine:
    """decode: weights a second, as prompt tokens a second x active weights. vram 0: no GPU. Rates in bytes a second."""

    name: str
    decode: float
    vram: float
    memory: float
    cores: int
    bus: float
    disk: float
    logits: float
    quantize: Mapping[str, float]
    n_evaluators: int = 1


@dataclass(frozen=True)
class Workload:
    """What one search does. Tokens are decoded ones; a trial sees `share` of the full text on average.

    second_probes: at most so many.
    """

    source_bytes: int
    candidate_bytes: int
    active_weights: int
    n_vocab: int
    probes: int
    probe_tokens: int
    second_probes: int
    trials: int
    full_tokens: int
    pool_tokens: int
    final_tokens: int
    report_tokens: int
    report_runs: int
    shard_weights: Mapping[str, int]
    bank_bytes: int
    share: float

    @property
    def reference_bytes(self) -> int:
        """float16 logits of every scored position of all texts."""
        return self.reference_tokens // 2 * self.n_vocab * 2

    @property
    def reference_tokens(self) -> int:
        """Search text that trials' is drawn from, what finals' is drawn from, and report text."""
        return self.pool_tokens + self.final_tokens + self.report_tokens

    @property
    def all_probe_tokens(self) -> int:
        return (self.probes + CHUNKS * self.second_probes) * self.probe_tokens

    @property
    def candidate_tokens(self) -> float:
        return (
            self.all_probe_tokens
            + self.pool_tokens
            + self.trials * self.share * self.full_tokens
            + self.report_runs * self.report_tokens
        )


def workload(plan: Plan, active: int, share: float) -> Workload:
    settings = plan.config.evaluation
    probing = plan_probing(plan)
    full = settings.chunks * settings.ctx_size
    wanted = probe_chunks(plan.config, settings.chunks)
    options = [option for unit in plan.space.units for option in unit.options if option.allowed]
    weights: Counter[str] = Counter()
    for tensor, tensor_type in {pair for option in options for pair in option.tensor_types.items()}:
        weights[tensor_type] += prod(plan.model.by_name[tensor].shape)
    baselines = max(len(each) for each in plan.baselines.values())
    return Workload(
        source_bytes=plan.model.size_bytes,
        candidate_bytes=plan.budgets[-1].n_bytes,
        active_weights=active,
        n_vocab=plan.model.by_name["token_embd.weight"].shape[1],
        probes=len(probing.probes),
        probe_tokens=wanted * settings.ctx_size,
        second_probes=most_second_probes(plan, probing),
        trials=plan.config.trials,
        full_tokens=full,
        pool_tokens=pool_chunks(plan.config, 10**9) * settings.ctx_size,
        final_tokens=(FINAL_TEXTS * settings.chunks if settings.final_chunks is None else settings.final_chunks)
        * settings.ctx_size,
        report_tokens=(settings.report_chunks or settings.chunks) * settings.ctx_size,
        report_runs=baselines + 2,
        shard_weights=dict(weights),
        bank_bytes=plan.bank_bytes() + plan.model.size_bytes,  # probes from the source copy its tensors
        share=share,
    )


def hours(work: Workload, machine: Machine) -> dict[str, float]:
    """Hours by kind of work. Quantizing is an upper bound: every shard that any option could need."""
    base = work.source_bytes if work.source_bytes <= SOURCE_MEMORY_SHARE * machine.memory else work.candidate_bytes
    seconds = {
        "reference": _decode(work.reference_tokens, work.source_bytes, work, machine)
        + 2 * _load(work.source_bytes, machine),
        "probes": _decode(work.all_probe_tokens + work.pool_tokens, base, work, machine)
        + (work.probes + work.second_probes) * _load(base, machine),
        "trials": _decode(work.trials * work.share * work.full_tokens, work.candidate_bytes, work, machine)
        + work.trials * _load(work.candidate_bytes, machine),
        "report": _decode(work.report_runs * work.report_tokens, work.candidate_bytes, work, machine)
        + work.report_runs * _load(work.candidate_bytes, machine),
        "quantizing": sum(n / machine.quantize[name] for name, n in work.shard_weights.items()) / machine.cores,
    }
    together = {"probes", "trials", "report"}
    return {kind: each / 3600 / (machine.n_evaluators if kind in together else 1) for kind, each in seconds.items()}


def _load(n_bytes: float, machine: Machine) -> float:
    """Candidates share most of their shards, so what memory can hold comes from there; else from disk each time."""
    return n_bytes / (machine.bus if n_bytes <= machine.memory else min(machine.disk, machine.bus))


def _decode(tokens: float, n_bytes: float, work: Workload, machine: Machine) -> float:
    seconds = tokens * work.active_weights / machine.decode + tokens / 2 * work.n_vocab / machine.logits
    outside = max(0.0, n_bytes + RESERVED - machine.vram) if machine.vram else 0.0
    rate = machine.bus if n_bytes <= machine.memory else min(machine.disk, machine.bus)
    return seconds + outside / rate * tokens / UBATCH
