"""From the words that somebody sent to a command that this service may run: parsed, confined, written anew.

No word goes through as it came: a command line is made from what the command's own parser understood, with every file
by its whole path in the service's folders, and every output in the folder of outputs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optimizer.cli import make_app
from optimizer.errors import ConfigError
from optimizer.recipes.arguments import is_layer_types
from optimizer.recipes.dry_run import FTYPES
from optimizer.recipes.presets import ALIASES
from optimizer.search.sensitivity_table import LAYERQUANT, WHOLE_MODEL
from optimizer.service.context import Service
from optimizer.service.launching import where
from optimizer.service.places import Places, is_shipped_suite
from optimizer.service.problems import NotFound, Refused
from optimizer.service.run_parameters import ParameterKind, kind_of, may_be_set
from optimizer.service.run_words import given_values, parse, words_of
from optimizer.sources.hub_name import is_hub_name
from optimizer.sources.named_texts import named_text

OUTPUT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,150}")
_PRESETS = frozenset({*FTYPES, *ALIASES})


@dataclass(frozen=True)
class RunOrder:
    """`arguments`: behind `layerquant`. `writes`: names in the folder of outputs. `heavy`: it waits for searches."""

    arguments: tuple[str, ...]
    writes: tuple[str, ...]
    heavy: bool


def order_run(here: Service, command: str, words: Sequence[str]) -> RunOrder:
    """Raises ConfigError for words or files that are nothing to the command, Refused for files out of reach."""
    _check_text(words)
    context = parse(make_app(command.split()[0]), command, words, shows_help=False)
    values = given_values(context)
    folder = here.outputs
    places = replace(here.places, folders=(*here.places.folders, folder))
    confined: dict[str, Any] = {}
    writes: list[str] = []
    for name, value in values.items():
        kind = kind_of(name, value)
        if kind == "own":
            raise Refused(f"--{name} does not go with a service, which has its own; leave it out")
        if kind == "output":
            writes.append(_new_name(here.places, str(value), writes))
            confined[name] = str(folder / str(value))
        elif isinstance(value, list | tuple):
            confined[name] = [_confined(kind, name, str(each), places) for each in value]
        else:
            confined[name] = value if isinstance(value, bool) else _confined(kind, name, str(value), places)
    if "csv_out" in values and context.params.get("csv_format") != LAYERQUANT:
        writes.append(f"{WHOLE_MODEL}/{values['csv_out']}")
    of_the_folder = where(here) if "database" in context.params else []
    arguments = (*command.split(), *of_the_folder, *words_of(context, confined))
    return RunOrder(arguments, tuple(writes), command != "prompts check" and "show_statistics" not in values)


def _check_text(words: Sequence[str]) -> None:
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise ConfigError("a word holds half a character") from None
        if "\0" in word:
            raise ConfigError("a word holds a zero byte")


def _confined(kind: ParameterKind, name: str, value: str, places: Places) -> str:
    """The value, where it names no file; else the file's whole path. The last of the places is the outputs'."""
    if kind == "plain":
        if "/" in value or "\\" in value:
            raise Refused(f"{name}: {value!r:.80} looks like a path, and this option names no file")
        return value
    if kind == "settings":
        if not may_be_set(value):
            raise Refused(f"--set {value!r:.80} is not taken by a service: evaluation.… and quantization.… are")
        return value
    free = (
        (kind in ("model", "text") and is_hub_name(value))
        or (kind == "text" and ".." not in value and named_text(value) is not None)
        or (kind == "suite" and (value == "none" or is_shipped_suite(value)))
        or (kind == "matrix" and value in ("auto", "none"))
        or (kind == "layer types" and is_layer_types(value))
        or (kind == "recipe" and value.strip().upper() in _PRESETS)
    )
    if free:
        return value
    try:
        return str(places.resolve(value))
    except NotFound:
        folders = (
            ", ".join(str(folder) for folder in places.folders[:-1]) or "which it has none of; serve --models adds"
        )
        raise ConfigError(
            f"{value}: no such file in the service's folders ({folders}); copy it to its machine"
        ) from None


def _new_name(places: Places, name: str, others: Sequence[str]) -> str:
    """A plain name that none of the service's own files has: the next command that names it must mean one file."""
    if not OUTPUT_NAME.fullmatch(name) or name.endswith(".partial"):
        raise ConfigError(f"{name!r:.80} is no plain name for an output of a service; it has a folder for them")
    if name in others:
        raise ConfigError(f"{name} is named for two outputs; give each its own")
    if any(Path(folder, name).exists() for folder in places.folders):
        raise ConfigError(f"{name} is the name of a file in the service's folders; give another name")
    return name
