"""`trials`, `report`, `export`, `plan` and `doctor`, asked of a service and shown as here."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from optimizer.commands.handover import FORMS
from optimizer.commands.plan_shown import show_plan
from optimizer.commands.shown import err, print_json, show_checks, show_report
from optimizer.commands.trials_shown import show_trials
from optimizer.errors import ConfigError, StudyError
from optimizer.recipes.arguments import read_layer_types
from optimizer.recipes.layer_types import format_shell
from optimizer.service.client import Client
from optimizer.service.remote_studies import path_of
from optimizer.text_files import write_text

FAILURE = 1
POLL_SECONDS = 1.0
PAGE = 500
"""Trials a request, with their LAYER_TYPES."""
Options = Mapping[str, Any]
_PLAN = ("model", "budget", "imatrix", "units", "types", "token_embedding_type", "output_tensor_type")


def ask_trials(client: Client, options: Options) -> None:
    study = path_of(options["study"])
    if options["as_csv"]:
        print(client.text(f"{study}/trials.csv"), end="")
        return
    first: int | None = 0
    found: dict[str, Any] = {}
    while first is not None:
        page = client.get(f"{study}/trials", first=first, limit=PAGE, layer_types=options["as_json"])
        first = page.pop("next")
        found = page | {"trials": [*found.get("trials", ()), *page["trials"]]}
    if options["as_json"]:
        print_json(found)
    else:
        best = client.get(study)["best"]
        show_trials(found["trials"], None if best is None else best["trial"], found["tokens_evaluated"])


def ask_report(client: Client, options: Options) -> None:
    study, html = path_of(options["study"]), options["html"]
    if html is not None:
        write_text(Path(html), client.text(f"{study}/report/page"))
        err().print(f"written: {escape(str(html))}")
    if options["as_json"]:
        print_json(client.get(f"{study}/report"))
    elif html is None:
        show_report(client.get(f"{study}/report"))


def ask_export(client: Client, options: Options) -> None:
    form, study, output = options["form"], path_of(options["study"]), options["output"]
    if form not in FORMS or form == "folder":
        raise ConfigError(f"--as {form} does not go with --server; known are {', '.join(set(FORMS) - {'folder'})}")
    if form != "gguf":
        text = client.text(f"{study}/exports/{form}/text", trial=options["trial"])
        if output is None:
            print(text, end="" if text.endswith("\n") else "\n")
        else:
            write_text(Path(output), text)
            err().print(f"written: {escape(str(output))}")
        return
    job = client.post(f"{study}/exports/gguf", {"trial": options["trial"]})
    while job["state"] != "ended":
        time.sleep(POLL_SECONDS)
        job = next(each for each in client.get(f"{study}/exports")["exports"] if each["id"] == job["id"])
    if job["error"]:
        raise StudyError(f"the export failed: {job['error']}")
    path = Path(output or job["file"])
    n_bytes = client.download(f"{study}/exports/files/{job['file']}", path)
    err().print(f"written: {escape(str(path))}, {n_bytes:,} bytes")


def ask_plan(client: Client, options: Options) -> None:
    """A file of LAYER_TYPES is read here; model and importance matrix lie at the service."""
    query = {key: options[key] for key in _PLAN} | {"pin": options["pins"] or None, "bound": options["bounds"] or None}
    if options["allow_requantize"]:
        query["allow_requantize"] = True
    if options["layer_types"] is not None:
        query["layer_types"] = format_shell(read_layer_types(options["layer_types"]))
    plan = client.get("api/plan", **query)
    if options["as_json"]:
        print_json(plan)
    else:
        show_plan(plan)


def ask_doctor(client: Client, options: Options) -> None:
    """The machine that the service runs on, and that it answers; exit code 1 when a check fails, as here."""
    health = client.get("api/health")
    found = f"layerquant {health['version']} answers, and so does its database"
    service = {"name": "service", "state": "ok", "found": found, "advice": ""}
    checks = [service, *client.get("api/doctor")["checks"]]
    if options["as_json"]:
        print_json({"checks": checks})
    else:
        show_checks(checks)
    if any(check["state"] == "fail" for check in checks):
        raise SystemExit(FAILURE)
