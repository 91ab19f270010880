"""`status`, `search`, `stop` and `resume`, asked of a service."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from optimizer.commands.search import settings_given
from optimizer.commands.shown import out, print_json
from optimizer.commands.studies import show_statuses
from optimizer.config import read_yaml
from optimizer.errors import ConfigError, StudyError
from optimizer.named_files import find_file
from optimizer.service.client import Client

Options = Mapping[str, Any]


def ask_status(client: Client, options: Options) -> None:
    name = options["study"]
    shown = [client.get(path_of(name))] if name else client.get("api/studies")["studies"]
    if options["as_json"]:
        print_json(shown[0] if name else {"studies": shown})
    else:
        show_statuses(shown, "the service", one=bool(name))


def ask_search(client: Client, options: Options) -> None:
    """Returns when the study is queued."""
    given = str(options["model_or_config"])
    is_file = given.lower().endswith((".yaml", ".yml"))
    tree = read_yaml(find_file(given)) if is_file else {"model": given}
    made = client.post("api/studies", {"config": tree | settings_given(options)})
    out().print(f"study {made['study']} is {made['state']} at the service")


def ask_stop(client: Client, options: Options) -> None:
    name = _chosen(client, options)
    answer = client.post(f"{path_of(name)}/stop")
    if options["as_json"]:
        print_json({key: answer[key] for key in ("study", "state", "stop_requested")})
    else:
        out().print(f"study {name} {'stops' if answer['stop_requested'] else 'is not running'} ({answer['state']})")


def ask_resume(client: Client, options: Options) -> None:
    for each in ("workers", "cluster", "tls_ca", "tls_cert", "tls_key"):
        if options[each] is not None:
            raise ConfigError(
                f"--{each.replace('_', '-')} does not go with --server: the service resumes a study where it ran; "
                "resume it on its machine to move it"
            )
    wanted = {key: options[key] for key in ("trials", "hours") if options[key] is not None}
    answer = client.post(f"{path_of(_chosen(client, options))}/resume", wanted)
    if options["as_json"]:
        print_json(answer)
    else:
        out().print(f"study {answer['study']} is {answer['state']} at the service")


def path_of(study: str) -> str:
    return f"api/studies/{quote(study, safe='')}"


def _chosen(client: Client, options: Options) -> str:
    """The study of this name; without one, the only study there is, or the only one at work."""
    if options["study"] is not None:
        return str(options["study"])
    found = client.get("api/studies")["studies"]
    working = [each for each in found if each["state"] in ("queued", "starting", "running")]
    for candidates in (found, working):
        if len(candidates) == 1:
            return str(candidates[0]["study"])
    names = ", ".join(each["study"] for each in found) or "none"
    raise StudyError(f"name a study; studies at the service: {names}")
