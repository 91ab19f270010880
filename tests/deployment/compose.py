"""docker-compose.yml as Compose reads it: anchors merged, `${VARIABLE}` filled in; compared with Compose in a test."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
SEVERAL_MACHINES = ROOT / "docker" / "several-machines.yml"
EXAMPLE = ROOT / ".env.example"
_VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<rest>[^}]*))?\}")


class MissingVariable(Exception):
    """A variable without a value that the file demands; the message is the file's own."""


def read_example() -> dict[str, str]:
    """What `.env.example` sets; secrets are empty."""
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def filled_example(models: Path, tls: Path = Path("/srv/tls")) -> dict[str, str]:
    """`.env` as a user makes it."""
    given = read_example() | {"MODELS_DIR": str(models), "TLS_DIR": str(tls), "SCHEDULER_ADDRESS": "127.0.0.1"}
    return {name: value or f"{name.lower().replace('_', '')}0123456789" for name, value in given.items()}


def read_compose(environment: Mapping[str, str], *, several_machines: bool = False) -> dict[str, Any]:
    """The whole file; with the other one over it, whose commands replace, and whose lists are added. Raises
    MissingVariable.
    """
    tree: dict[str, Any] = fill_in(yaml.safe_load(COMPOSE_FILE.read_text()), environment)
    over = fill_in(yaml.safe_load(SEVERAL_MACHINES.read_text()), environment) if several_machines else {"services": {}}
    for name, changes in over["services"].items():
        service = tree["services"][name]
        for key, value in changes.items():
            service[key] = value if key == "command" else [*service.get(key, []), *value]
    return tree


def fill_in(value: Any, environment: Mapping[str, str]) -> Any:
    """Each `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` in a tree of texts."""
    if isinstance(value, dict):
        return {key: fill_in(each, environment) for key, each in value.items()}
    if isinstance(value, list):
        return [fill_in(each, environment) for each in value]
    return _VARIABLE.sub(lambda found: _value(found, environment), value) if isinstance(value, str) else value


def variables_named(path: Path) -> Iterator[str]:
    for found in _VARIABLE.finditer(path.read_text()):
        if found["name"]:
            yield found["name"]


def _value(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if found[0] == "$$":
        return "$"
    given = environment.get(found["name"], "")
    if given or not found["operator"]:
        return given
    if found["operator"] == ":?":
        raise MissingVariable(found["rest"])
    return str(found["rest"])
