"""The study that the tests break, and what of it must be the same in the end, whatever happened on the way."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

from optimizer.search.best import winners
from optimizer.store import Store
from optimizer.store.schema import Evaluation, OutboxEvent
from tests.models import tiny_model

NAME = "night"
OF_THE_LAST_RUN = ("trial_tokens", "search_hypervolume_over_tokens")
"""Of a report: an interrupted trial counts what its last run evaluated (docs/reliability.md)."""


def write_config(folder: Path, **changes: Any) -> Path:
    """A search over a tiny model, ready to run: a second or two with the fake evaluator."""
    model = tiny_model(folder, n_layer=2)
    for name in ("search", "report"):
        (folder / f"{name}.txt").write_text(name * 500)
    settings = {
        "model": str(model),
        "study": NAME,
        "units": "groups",
        "types": "Q3_K,Q4_K,Q5_K",
        "trials": 9,
        "search_text": str(folder / "search.txt"),
        "report_text": str(folder / "report.txt"),
        "evaluation": {"ctx_size": 64, "chunks": 8},
        "baselines": {"presets": False, "hybrids": False, "variants": False},
        "tracking": {"mlflow": "none", "optuna": False},
        **changes,
    }
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def end_state(url: str | Path) -> dict[str, Any]:
    """Trials, scores, events, totals and the report of the study; also asserts that nothing exists twice."""
    with Store.open(url) as store:
        study = store.find_study(NAME)
        assert study is not None
        trials = store.trials(study.id)
        recipes = store.recipes(trial.recipe_id for trial in trials)
        assert [trial.number for trial in trials] == list(range(len(trials)))
        with store.reading() as session:
            rows = session.query(Evaluation).all()
            events = session.query(OutboxEvent).order_by(OutboxEvent.id).all()
        number_of = {trial.id: trial.number for trial in trials}
        scored = sorted((row.recipe_id, row.text_id, row.settings_key, chunk) for row in rows for chunk in _chunks(row))
        assert len(set(scored)) == len(scored), "chunks were scored twice"
        assert study.tokens_evaluated == sum(row.tokens for row in rows)
        return {
            "state": study.state,
            "trials": [
                (
                    trial.number, trial.state, trial.origin, trial.name, trial.size_bytes, trial.mean_kld,
                    trial.mean_kld_standard_error, trial.perplexity, trial.chunks_scored, trial.predicted_kld,
                    trial.params, trial.layer_types, recipes[trial.recipe_id].key, trial.error,
                )
                for trial in trials
            ],
            "chunks": len(scored),
            "tokens": study.tokens_evaluated,
            "events": [(each.kind, number_of.get(each.trial_id)) for each in events],
            "winners": winners(study.report),
            "report": {key: value for key, value in (study.report or {}).items() if key not in OF_THE_LAST_RUN},
        }  # fmt: skip


def _chunks(row: Evaluation) -> range:
    return range(row.first_chunk, row.first_chunk + row.n_chunks)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def half_written(folder: Path) -> list[Path]:
    """Files that a process left in the making."""
    return sorted(folder.rglob("*.part"))
