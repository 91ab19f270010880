"""`layerquant trials`, `report`: what a study found."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from optimizer.commands.options import Database, Json, Studies, Study
from optimizer.commands.shown import err, print_json, show_report
from optimizer.commands.studies import existing_store, finished_study, named_study
from optimizer.commands.trials_shown import show_trials
from optimizer.search.best import (
    PROMPTS_SOLVED,
    PROMPTS_TOTAL,
    best_of_study,
    estimated_kld,
    kept_out,
    only_lucky,
)
from optimizer.store import TrialRecord
from optimizer.text_files import write_text
from optimizer.workplace import DEFAULT_STUDIES, Workplace


def trials(
    study: Study,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print a CSV table.")] = False,
) -> None:
    """Every trial of a study, in the order they ran."""
    with existing_store(Workplace(studies, database)) as store:
        record = named_study(store, study)
        if as_csv:
            print(store.trials_frame(record.id).to_csv(index=False), end="")
            return
        found = store.light_trials(record.id, layer_types=as_json)
    if as_json:
        print_json(
            {
                "study": study,
                "tokens_evaluated": record.tokens_evaluated,
                "trials": [trial_object(trial) for trial in found],
            }
        )
        return
    best = best_of_study(record, found)
    shown = [trial_object(trial) for trial in found]
    show_trials(shown, None if best is None else best.number, record.tokens_evaluated)


def trial_object(trial: TrialRecord) -> dict[str, Any]:
    """One of `trials --json`."""
    return {
        "number": trial.number,
        "state": trial.state,
        "name": trial.name,
        "origin": trial.origin,
        "size_bytes": trial.size_bytes,
        "budget_bytes": trial.budget_bytes,
        "mean_kld": trial.mean_kld,
        "mean_kld_standard_error": trial.mean_kld_standard_error,
        "full_text_estimate": estimated_kld(trial),
        "perplexity": trial.perplexity,
        "predicted_kld": trial.predicted_kld,
        "predicted_kld_standard_error": trial.predicted_kld_standard_error,
        "chunks_scored": trial.chunks_scored,
        "tokens_spent": trial.tokens_spent,
        "layer_types": trial.layer_types,
        "prompts_solved": (trial.metrics or {}).get(PROMPTS_SOLVED),
        "prompts_total": (trial.metrics or {}).get(PROMPTS_TOTAL),
        "kept_out": kept_out(trial),
        "luck": only_lucky(trial),
        "error": trial.error,
    }


def report(
    study: Study,
    studies: Studies = DEFAULT_STUDIES,
    database: Database = None,
    as_json: Json = False,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures to this file.")] = None,
) -> None:
    """The final table, on report text. It only reads; an unfinished study ends with exit code 1."""
    with existing_store(Workplace(studies, database)) as store:
        record = finished_study(store, study)
        document = dict(record.report or {})
        page = None
        if html is not None:
            from optimizer.commands.report_pages import page_of_report  # takes a second to load

            page = page_of_report(store, record)
    if html is not None and page is not None:
        write_text(html, page)
        err().print(f"written: {escape(str(html))}")
    if as_json:
        print_json(document)
    elif html is None:
        show_report(document)
