"""Run jobs, two at a time on one thread each, and keep what each found: one JSON line a job.

The probes of a space are the same for every seed and budget. They are evaluated in the first of its jobs, and the
others take its scores; every job is charged their tokens all the same.
"""

import json
import multiprocessing
import shutil
import sqlite3
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.comparison import longer_texts
from benchmarks.comparison.jobs import OURS_LONG, OURS_LONGEST, RIVALS_LONGEST, Job
from benchmarks.comparison.probe_scores import keep_probes, take_probes
from optimizer.config import SearchConfig
from optimizer.errors import LayerquantError
from optimizer.progress import SilentReporter
from optimizer.search.best import only_lucky
from optimizer.search.imatrix_auto import with_imatrix
from optimizer.search.planning import make_plan
from optimizer.search.probing import plan_probing
from optimizer.search.runner import run_search
from optimizer.search.samplers import NEED_PROBES
from optimizer.search.texts import choose_texts
from optimizer.workplace import Workplace

MODEL = "demo/model/demo-F16.gguf"
SEARCH_TEXT = Path("demo/texts/search.txt")
TRIALS = 5000
"""Where the tokens do not end a job (a sampler that repeats itself spends none), the trials do."""
LONGER_POOL = 990
"""Chunks, half of the longer text."""


def search_text(job: Job, folder: Path) -> Path:
    """The longest searches have a longer text, of which `folder` keeps a copy."""
    if job.group not in (OURS_LONGEST, RIVALS_LONGEST):
        return SEARCH_TEXT
    return longer_texts.write_longer_text(folder, "search", job.text_scale * longer_texts.DOCUMENTS)


def settings(job: Job, chunks: int, ctx_size: int, text: Path = SEARCH_TEXT) -> dict[str, Any]:
    changes: dict[str, Any] = {
        "model": MODEL,
        "budget": job.budget,
        "units": job.units,
        "types": list(job.type_names) if job.type_names else None,
        "sampler": job.sampler,
        "seed": job.seed,
        "trials": TRIALS,
        "tokens": job.tokens,
        "search_text": str(text),
        "report_text": "demo/texts/report.txt",
        "evaluation.ctx_size": ctx_size,
        "evaluation.chunks": chunks,
        "evaluation.report_chunks": 2,  # winners are judged apart, on more
        "evaluation.threads": 1,
        "tracking.mlflow": "none",
        "tracking.optuna": False,
    }
    if job.group == OURS_LONG:
        changes |= {"evaluation.pool_chunks": 6 * chunks, "evaluation.probe_chunks": chunks // 3}
    elif job.group == OURS_LONGEST:
        scale = job.text_scale
        changes |= {"evaluation.final_chunks": scale * 9 * chunks}
        if job.units == "layers":  # a small space: fewer trials, and fewer probes, that see more
            changes |= {
                "evaluation.chunks": 9 * chunks // 2,
                "evaluation.first_rung": 1 / 6,
                "evaluation.pool_chunks": LONGER_POOL,
                "evaluation.probe_chunks": chunks,
            }
        else:
            changes |= {
                "evaluation.chunks": scale * 3 * chunks,
                "evaluation.pool_chunks": scale * 18 * chunks,
                "evaluation.probe_chunks": 2 * chunks // 3,
            }
            if scale > 1:
                changes["evaluation.first_rung"] = 1 / 6
    elif job.group == RIVALS_LONGEST:
        changes["evaluation.chunks"] = 3 * chunks
    if job.has_imatrix:
        changes |= {"imatrix": "auto", "imatrix_text": "demo/texts/imatrix.txt"}
    return changes | {f"baselines.{name}": False for name in ("presets", "variants", "uniform", "hybrids")}


def run_job(job: Job, folder: Path, chunks: int, ctx_size: int) -> dict[str, Any]:
    """One search from nothing. Returns the job, its incumbents in order, and what the probes took."""
    started = time.monotonic()
    workplace = Workplace(folder / job.name, bank=folder / f"bank-{multiprocessing.current_process().name}")
    shutil.rmtree(workplace.studies, ignore_errors=True)
    probes = folder / "probes" / job.space
    known = take_probes(probes, workplace.studies) if job.sampler in NEED_PROBES else 0
    changes = settings(job, chunks, ctx_size, search_text(job, folder))
    config = SearchConfig.load(None, changes | {"tokens": job.tokens - known})
    config = with_imatrix(config, Workplace(folder / "imatrix"), SilentReporter())
    plan = make_plan(config)
    outcome = run_search(plan, workplace, SilentReporter(), [False], name="study")
    with workplace.open_store() as store:
        trials = store.trials(outcome.study.id)
        recipes = store.recipes(trial.recipe_id for trial in trials)
    probe_tokens = _search_tokens(workplace, choose_texts(config, None)[0].sha256) - sum(
        trial.tokens_spent or 0 for trial in trials
    )
    if job.sampler in NEED_PROBES:
        keep_probes(workplace.studies, probes, {probe.recipe.key for probe in plan_probing(plan).probes})
    spent, best, incumbents = probe_tokens, float("inf"), []
    for trial in trials:
        spent += trial.tokens_spent or 0
        lower = trial.state == "complete" and trial.mean_kld is not None and trial.mean_kld < best
        if lower and only_lucky(trial) is None:
            best = float(trial.mean_kld or 0.0)
            incumbents.append(
                {
                    "tokens": spent,
                    "search_kld": best,
                    "size_bytes": trial.size_bytes,
                    "tensor_types": dict(recipes[trial.recipe_id].tensor_types),
                }
            )
    return {
        "job": asdict(job),
        "budget_bytes": plan.budgets[0].n_bytes,
        "probe_tokens": probe_tokens,
        "tokens": spent,
        "trials": len(trials),
        "complete": sum(trial.state == "complete" for trial in trials),
        "seconds": time.monotonic() - started,
        "leftover": (outcome.study.report or {}).get("leftover"),
        "incumbents": incumbents,
    }


def _search_tokens(workplace: Workplace, sha256: str) -> int:
    """All tokens evaluated on search text."""
    with sqlite3.connect(workplace.studies / "layerquant.db") as database:
        (tokens,) = database.execute(
            "SELECT sum(tokens) FROM evaluations JOIN texts ON texts.id = evaluations.text_id WHERE sha256 = ?",
            (sha256,),
        ).fetchone()
    return int(tokens)


def _work(arguments: tuple[Job, Path, int, int]) -> dict[str, Any]:
    job = arguments[0]
    try:
        return run_job(*arguments)
    except LayerquantError as error:
        return {"job": asdict(job), "error": str(error)}


def run_jobs(jobs: Iterable[Job], folder: Path, chunks: int, ctx_size: int, processes: int) -> None:
    """Every job that `results.jsonl` does not have yet; interrupted, the same call goes on with the next."""
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.jsonl"
    done = {tuple(sorted(row["job"].items())) for row in read_results(folder)}
    waiting = [job for job in jobs if tuple(sorted(asdict(job).items())) not in done]
    for job in waiting:
        search_text(job, folder)  # written once, before two jobs want it
    started = time.monotonic()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool, results.open("a", encoding="utf-8") as file:
        running = [pool.submit(_work, (job, folder, chunks, ctx_size)) for job in waiting]
        for number, finished in enumerate(as_completed(running), start=1):
            row = finished.result()
            file.write(json.dumps(row) + "\n")
            file.flush()
            left = (time.monotonic() - started) / number * (len(waiting) - number)
            best = row["incumbents"][-1]["search_kld"] if row.get("incumbents") else row.get("error", "nothing")
            print(f"{number}/{len(waiting)} {Job(**row['job']).name} {best} ({left / 60:.0f} min left)", flush=True)


def read_results(folder: Path) -> list[dict[str, Any]]:
    path = folder / "results.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
