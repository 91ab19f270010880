"""`--server URL`: the same commands with the same options, answered by a running service."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import typer

from optimizer.errors import ConfigError
from optimizer.service.client import Client
from optimizer.service.remote_results import ask_doctor, ask_export, ask_plan, ask_report, ask_trials
from optimizer.service.remote_studies import ask_resume, ask_search, ask_status, ask_stop

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
        "eval": "it runs a model file of this machine; run it where the candidate lies",
        "imatrix": "it runs a model file of this machine; a search at the service makes its own with imatrix: auto",
        "probe": "it runs a model file of this machine; what a service's studies have measured is at "
        "URL/api/studies/NAME/sensitivities",
        "prompts": "it reads a suite of this machine, and needs no service",
        "quantize": "it writes a file from files of this machine; a study's GGUF comes by `export --as gguf`",
        "serve": "it is the service itself",
        "worker": "it is a process of this machine; the service's searches find it by their cluster's address",
    }
)
"""Commands that compute on files of this machine, or are themselves what runs somewhere."""


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
    if name not in COMMANDS:
        why = f": {WHY_HERE[name]}" if name in WHY_HERE else ""
        raise ConfigError(f"`layerquant {name}` does not go with {OPTION}{why}; these do: {', '.join(COMMANDS)}")
    group = typer.main.get_command(app)
    command = group.get_command(None, name)  # type: ignore[attr-defined]
    try:
        context = command.make_context(name, list(words[1:]))
    except typer.Exit as ended:  # after --help
        raise SystemExit(ended.exit_code) from None
    except typer.TyperException as error:  # an option that the command does not have
        raise ConfigError(f"{name}: {getattr(error, 'message', error)}") from None
    for each in context.params:
        source = context.get_parameter_source(each)
        if each in OWN and source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{each.replace('_', '-')} does not go with {OPTION}: the service has its own")
    COMMANDS[name](client, context.params)
