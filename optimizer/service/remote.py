"""`--server URL`: the same commands with the same options, answered by a running service."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import typer

from optimizer.errors import ConfigError
from optimizer.service.client import Client
from optimizer.service.remote_results import ask_doctor, ask_export, ask_plan, ask_report, ask_trials
from optimizer.service.remote_runs import ask_run
from optimizer.service.remote_studies import ask_resume, ask_search, ask_status, ask_stop
from optimizer.service.run_parameters import RUN_COMMANDS
from optimizer.service.run_words import given_values, parse

OPTION = "--server"
Options = Mapping[str, Any]
OWN = frozenset({"studies", "database", "bank", "detach"})
"""Options that the service has its own of."""
COMMANDS: Mapping[str, Callable[[Client, Options], None]] = MappingProxyType(
    {
        "doctor": ask_doctor,
        "export": ask_export,
        "plan": ask_plan,
        "report": ask_report,
        "resume": ask_resume,
        "search": ask_search,
        "status": ask_status,
        "stop": ask_stop,
        "trials": ask_trials,
    }
)
WHY_HERE: Mapping[str, str] = MappingProxyType(
    {
        "db": "it works on a database; run it on a machine that reaches that, with --studies or --database",
        "serve": "it is the service itself",
        "worker": "it is a process of this machine; the service's searches find it by their cluster's address",
    }
)
"""Commands that look after a machine, or are themselves what runs somewhere."""


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
    if name == "prompts" and words[1:2] == ["check"]:
        name = "prompts check"
    if name not in COMMANDS and name not in RUN_COMMANDS:
        why = f": {WHY_HERE[name]}" if name in WHY_HERE else ""
        known = ", ".join(sorted((*COMMANDS, *RUN_COMMANDS)))
        raise ConfigError(f"`layerquant {name}` does not go with {OPTION}{why}; these do: {known}")
    context = parse(app, name, words[len(name.split()) :])
    for each in OWN & given_values(context).keys():
        raise ConfigError(f"--{each.replace('_', '-')} does not go with {OPTION}: the service has its own")
    if name in COMMANDS:
        COMMANDS[name](client, context.params)
    else:
        ask_run(client, name, context)
