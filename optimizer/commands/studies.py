"""`layerquant status`, `stop`: studies by their names, looked at from outside while they run."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from optimizer.commands.findings import best_hint, honesty_line, wider_line
from optimizer.commands.options import Database, Json, OptionalStudy, Studies
from optimizer.commands.shown import out, print_json
from optimizer.errors import StudyError
from optimizer.search.at_work import AtWork
from optimizer.search.standing import Standing, standing_of
from optimizer.search.trial_findings import wider_object
from optimizer.store import Store, StudyRecord
from optimizer.workplace import DEFAULT_STUDIES, Workplace


def status(
    study: OptionalStudy = None, studies: Studies = DEFAULT_STUDIES, database: Database = None, as_json: Json = False
) -> None:
    """How a study stands, also while it runs; without a name, all studies."""
    with existing_store(Workplace(studies, database)) as store:
        records = store.studies() if study is None else [named_study(store, study)]
        shown = [status_object(store, each) for each in records]
        if as_json:
            print_json(shown[0] if study is not None else {"studies": shown})
            return
        show_statuses(shown, str(studies), one=study is not None)


def show_statuses(shown: Sequence[dict[str, Any]], where: str, *, one: bool) -> None:
    """A table of what `status --json` holds, and of one study what it found besides."""
    console = out()
    if not shown:
        console.print(f"no studies in {where}; start one with: layerquant search MODEL")
    table = Table(box=None, pad_edge=False)
    for column in ("study", "state", "phase", "trials", "best KLD", "bytes", "tokens", "ETA"):
        table.add_column(column)
    for each in shown:
        best = each["best"] or {}
        counts = each["trials"]
        done = f"{counts['complete'] + counts['pruned']}/{each['target_trials'] or '?'}"
        kld = f"{best['mean_kld']:.6f}" if best else ""
        size = f"{best['size_bytes']:,}" if best else ""
        eta = "" if each["eta_seconds"] is None else f"{each['eta_seconds']:.0f} s"
        table.add_row(
            each["study"], each["state"], each["phase"] or "", done, kld, size, f"{each['tokens_evaluated']:,}", eta
        )
    console.print(table)
    if one:
        for line in _findings(shown[0]):
            console.print(escape(line), soft_wrap=True)


def _findings(shown: dict[str, Any]) -> list[str]:
    """What the study has learnt of its own forecasts and of its space; nothing before there are trials."""
    honesty = shown["honesty"]
    lines = [str(AtWork(**shown["at_work"]))] if shown.get("at_work") else []
    lines += [honesty_line(honesty)] if honesty and honesty["pairs"] else []
    lines += shown.get("pruning", ())
    hint = best_hint(shown["wider"])
    if hint is not None:
        lines.append(f"a wider space, at {hint['budget']}: {wider_line(hint)}")
    return lines


def status_object(store: Store, record: StudyRecord, standing: Standing | None = None) -> dict[str, Any]:
    """`status --json` of one study. standing: what is known of its ended trials, in place of reading them."""
    found = store.status(record.id)
    at_work = AtWork.of(found.progress) if found.state == "running" else None
    standing = standing or standing_of(record, store.ended_trials(record.id))
    best, honesty = standing.best, standing.honesty
    return {
        "study": found.study,
        "state": found.state,
        "holder": found.holder,
        "phase": found.phase,
        "at_work": None if at_work is None else at_work.as_json(),
        "trials": dict(found.trials),
        "target_trials": found.target_trials,
        "best": None
        if best is None
        else {
            "trial": best.number,
            "name": best.name,
            "size_bytes": best.size_bytes,
            "mean_kld": best.mean_kld,
            "mean_kld_standard_error": best.mean_kld_standard_error,
            "perplexity": best.perplexity,
            "layer_types": store.trial_by_id(best.id).layer_types,
        },
        "eta_seconds": found.eta_seconds,
        "tokens_evaluated": found.tokens_evaluated,
        "honesty": asdict(honesty),
        "wider": wider_object(record.progress, honesty),
        **({} if standing.pruning is None else {"pruning": list(standing.pruning)}),
        "stop_requested": found.stop_requested,
    }


def stop(
    study: OptionalStudy = None, studies: Studies = DEFAULT_STUDIES, database: Database = None, as_json: Json = False
) -> None:
    """Ask a running search to stop after the evaluation under way; everything measured is kept."""
    with existing_store(Workplace(studies, database)) as store:
        record = chosen_study(store, study)
        found = store.status(record.id)
        if found.state == "running":
            store.request_stop(record.id)
            name = record.name
            text = f"study {name} stops after the evaluation under way; `layerquant resume {name}` continues it"
        else:
            text = f"study {record.name} is not running ({found.state})"
        if as_json:
            print_json({"study": record.name, "state": found.state, "stop_requested": found.state == "running"})
        else:
            out().print(text)


def existing_store(workplace: Workplace) -> Store:
    if workplace.database is None and not workplace.studies.is_dir():
        raise StudyError(f"{workplace.studies}: there are no studies; name their folder with --studies DIR")
    return workplace.open_store()


def chosen_study(store: Store, name: str | None) -> StudyRecord:
    """The study of this name; without one, the only study there is, or the only one that runs."""
    if name is not None:
        return named_study(store, name)
    found = store.studies()
    running = [each for each in found if store.status(each.id).state == "running"]
    for candidates in (found, running):
        if len(candidates) == 1:
            return candidates[0]
    raise StudyError(f"name a study; studies here: {', '.join(each.name for each in found) or 'none'}")


def named_study(store: Store, name: str) -> StudyRecord:
    found = store.find_study(name)
    if found is None:
        known = ", ".join(each.name for each in store.studies()) or "none"
        raise StudyError(f"there is no study {name}; studies here: {known}")
    return found


def finished_study(store: Store, name: str) -> StudyRecord:
    """The study, or StudyError when it is missing or has no report yet."""
    study = named_study(store, name)
    if study.report is None or study.state != "finished":
        raise StudyError(f"study {name} is not finished; continue it with the same `layerquant search` command")
    return study
