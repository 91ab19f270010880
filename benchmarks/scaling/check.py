"""The same formulas on the bundled model, beside what a search of it took here."""

import time
from dataclasses import replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from benchmarks.scaling.cost import Machine, hours, workload
from benchmarks.scaling.rates import quantize_rates, score_rate
from evaluators.process import EvaluatorProcess
from optimizer.config import SearchConfig
from optimizer.progress import SilentReporter
from optimizer.quantization.rows import available_cores
from optimizer.search.bench import runtime_settings
from optimizer.search.planning import Plan, make_plan
from optimizer.search.runner import run_search
from optimizer.search.texts import choose_texts
from optimizer.workplace import Workplace

CONFIG = Path(__file__).parents[2] / "configs" / "demo.yaml"


def run() -> dict[str, Any]:
    """The demo search here and now, with `seconds` beside `of_study`; the rates are measured first, by other work."""
    plan = make_plan(SearchConfig.load(CONFIG, {}))
    with TemporaryDirectory() as name:
        workplace = Workplace(Path(name))
        machine = _this_machine(plan, Path(name))
        started = time.monotonic()
        run_search(plan, workplace, SilentReporter(), [False], name="check")
        seconds = time.monotonic() - started
        found = of_study(plan, workplace, "check")
        work = replace(workload(plan, _active(plan), found["share"]), trials=found["trials"])
        return found | {"seconds": [3600 * sum(hours(work, machine).values()), seconds]}


def of_study(plan: Plan, workplace: Workplace, name: str) -> dict[str, Any]:
    """A finished study's `share` of the full text that a trial took on average, finals included; and by the formulas,
    then measured: tokens (of which the trials' come from that share) and bytes on disk.
    """
    with workplace.open_store() as store:
        study = store.find_study(name)
        assert study is not None
        trials = store.trials(study.id)
    settings = plan.config.evaluation
    full = settings.chunks * settings.ctx_size
    share = sum(trial.tokens_spent for trial in trials) / (full * len(trials))
    work = replace(workload(plan, _active(plan), share), trials=len(trials))
    return {
        "share": share,
        "trials": len(trials),
        "tokens": [work.candidate_tokens, study.tokens_evaluated],
        "reference_bytes": [work.reference_bytes, _size(workplace.references)],
        "bank_bytes": [work.bank_bytes, _size(workplace.bank_folder)],
    }


def _this_machine(plan: Plan, folder: Path) -> Machine:
    text = choose_texts(plan.config)[0]
    with EvaluatorProcess(runtime_settings(plan.config)) as evaluator:
        decode, logits = score_rate(evaluator, plan.model, text.path, folder / "rate", _active(plan))
    return Machine(
        "this one", decode, 0, psutil.virtual_memory().total, available_cores(), 10e9, 1e9, logits, quantize_rates()
    )


def _active(plan: Plan) -> int:
    return sum(
        prod(tensor.shape)
        for tensor in plan.model.tensors
        if len(tensor.shape) > 1 and (tensor.name != "token_embd.weight" or "output.weight" not in plan.model.by_name)
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
