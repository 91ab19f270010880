"""`--server URL`: the same commands with the same options, answered by a running service."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import typer

from optimizer.commands.handover import FORMS
from optimizer.commands.search import settings_given
from optimizer.commands.shown import err, out, print_json, show_report
from optimizer.commands.studies import show_statuses
from optimizer.config import find_file, read_yaml
from optimizer.errors import ConfigError, StudyError
from optimizer.service.client import Client
from optimizer.text_files import write_text

OPTION = "--server"
POLL_SECONDS = 1.0
PAGE = 500
"""Trials a request, with their LAYER_TYPES."""
Options = Mapping[str, Any]


def split_server(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The address, and the words without it. Raises ConfigError where it is missing."""
    rest: list[str] = []
    url: str | None = None
    given = iter(words)
    for word in given:
        if word == "--":
            rest += [word, *given]
        elif word == OPTION:
            url = next(given, "")
        elif word.startswith(f"{OPTION}="):
            url = word.partition("=")[2]
        else:
            rest.append(word)
    if url == "":
        raise ConfigError(f"{OPTION} needs the address of a service, such as http://127.0.0.1:8642")
    return url, rest


def run_remotely(app: typer.Typer, words: Sequence[str], client: Client) -> None:
    """Parses the words as the command itself does, and asks the service. Raises ConfigError where it cannot."""
    name = words[0] if words else ""
    if name not in _COMMANDS:
        raise ConfigError(f"`layerquant {name}` does not go with {OPTION}; these do: {', '.join(sorted(_COMMANDS))}")
    group = typer.main.get_command(app)
    command = group.get_command(None, name)  # type: ignore[attr-defined]
    try:
        context = command.make_context(name, list(words[1:]))
    except typer.TyperException as error:  # an option that the command does not have
        raise ConfigError(f"{name}: {getattr(error, 'message', error)}") from None
    known, ask = _COMMANDS[name]
    for each in context.params:
        source = context.get_parameter_source(each)
        given = source is not None and source.name == "COMMANDLINE"
        if given and known is not None and each not in known:
            raise ConfigError(f"--{each.replace('_', '-')} does not go with {OPTION}: the service has its own")
    ask(client, context.params)


def _status(client: Client, options: Options) -> None:
    name = options["study"]
    shown = [client.get(_study(name))] if name else client.get("api/studies")["studies"]
    if options["as_json"]:
        print_json(shown[0] if name else {"studies": shown})
    else:
        show_statuses(shown, "the service", one=bool(name))


def _trials(client: Client, options: Options) -> None:
    if not options["as_json"]:
        raise ConfigError(f"trials with {OPTION} are given as JSON; add --json")
    first: int | None = 0
    found: dict[str, Any] = {}
    while first is not None:
        page = client.get(f"{_study(options['study'])}/trials", first=first, limit=PAGE, layer_types=True)
        first = page.pop("next")
        found = page | {"trials": [*found.get("trials", ()), *page["trials"]]}
    print_json(found)


def _report(client: Client, options: Options) -> None:
    document = client.get(f"{_study(options['study'])}/report")
    if options["as_json"]:
        print_json(document)
    else:
        show_report(document)


def _search(client: Client, options: Options) -> None:
    given = str(options["model_or_config"])
    is_file = given.lower().endswith((".yaml", ".yml"))
    tree = read_yaml(find_file(given)) if is_file else {"model": given}
    made = client.post("api/studies", {"config": tree | settings_given(options)})
    out().print(f"study {made['study']} is {made['state']} at the service")


def _stop(client: Client, options: Options) -> None:
    name = _named(options)
    answer = client.post(f"{_study(name)}/stop")
    if options["as_json"]:
        print_json({key: answer[key] for key in ("study", "state", "stop_requested")})
    else:
        out().print(f"study {name} {'stops' if answer['stop_requested'] else 'is not running'} ({answer['state']})")


def _resume(client: Client, options: Options) -> None:
    wanted = {key: options[key] for key in ("trials", "hours") if options[key] is not None}
    answer = client.post(f"{_study(_named(options))}/resume", wanted)
    if options["as_json"]:
        print_json(answer)
    else:
        out().print(f"study {answer['study']} is {answer['state']} at the service")


def _export(client: Client, options: Options) -> None:
    form, study, output = options["form"], _study(options["study"]), options["output"]
    if form not in FORMS or form == "folder":
        raise ConfigError(f"--as {form} does not go with {OPTION}; known are {', '.join(set(FORMS) - {'folder'})}")
    if form != "gguf":
        text = client.text(f"{study}/exports/{form}/text", trial=options["trial"])
        if output is None:
            print(text, end="" if text.endswith("\n") else "\n")
        else:
            write_text(Path(output), text)
        return
    job = client.post(f"{study}/exports/gguf", {"trial": options["trial"]})
    while job["state"] != "ended":
        time.sleep(POLL_SECONDS)
        job = next(each for each in client.get(f"{study}/exports")["exports"] if each["id"] == job["id"])
    if job["error"]:
        raise StudyError(f"the export failed: {job['error']}")
    path = Path(output or job["file"])
    n_bytes = client.download(f"{study}/exports/files/{job['file']}", path)
    err().print(f"written: {path}, {n_bytes:,} bytes")


def _plan(client: Client, options: Options) -> None:
    if not options["as_json"]:
        raise ConfigError(f"a plan with {OPTION} is given as JSON; add --json")
    print_json(
        client.get("api/plan", **{key: options[key] for key in ("model", "budget", "units", "types", "imatrix")})
    )


def _named(options: Options) -> str:
    if options["study"] is None:
        raise ConfigError(f"name a study; with {OPTION} there is none by default")
    return str(options["study"])


def _study(name: str) -> str:
    return f"api/studies/{quote(name, safe='')}"


_COMMANDS: Mapping[str, tuple[frozenset[str] | None, Callable[[Client, Options], None]]] = MappingProxyType(
    {
        "status": (frozenset({"study", "as_json"}), _status),
        "trials": (frozenset({"study", "as_json"}), _trials),
        "report": (frozenset({"study", "as_json"}), _report),
        "search": (None, _search),
        "stop": (frozenset({"study", "as_json"}), _stop),
        "resume": (frozenset({"study", "trials", "hours", "as_json"}), _resume),
        "export": (frozenset({"study", "form", "trial", "output"}), _export),
        "plan": (frozenset({"model", "budget", "units", "types", "imatrix", "as_json"}), _plan),
    }
)
"""Command -> the options that it understands here (None: it looks itself), and what asks."""
