"""The words of a command line: read by the command's own parser, and written again from what it read."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import typer

from optimizer.errors import ConfigError


def parse(app: typer.Typer, command: str, words: Sequence[str], *, shows_help: bool = True) -> typer.Context:
    """What a command (`eval`, `prompts check`) understands of its words; nothing is done.

    Raises ConfigError for what it does not, SystemExit after --help, which is an unknown option unless `shows_help`.
    """
    found: Any = typer.main.get_command(app)
    for name in command.split():
        found = found.get_command(None, name)
    found.add_help_option = shows_help
    try:
        context = found.make_context(command, list(words))
    except typer.Exit as ended:
        raise SystemExit(ended.exit_code) from None
    except typer.TyperException as error:
        raise ConfigError(f"{command}: {getattr(error, 'message', error)}") from None
    return cast(typer.Context, context)


def given_values(context: typer.Context) -> dict[str, Any]:
    """The parameters that stood on the command line, by name; not defaults, and nothing of the environment."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {
        name: value
        for name, value in context.params.items()
        if (source := sources[name]) is not None and source.name == "COMMANDLINE"
    }


def words_of(context: typer.Context, values: Mapping[str, Any]) -> list[str]:
    """A command line that gives these values, options by their long names, arguments behind `--`."""
    words: list[str] = []
    behind: list[str] = []
    for parameter in context.command.params:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        if parameter.param_type_name == "argument":
            behind.append(str(value))
            continue
        option = next(each for each in parameter.opts if each.startswith("--"))
        if isinstance(value, bool):
            words += [option] if value else []
        else:
            words += [f"{option}={each}" for each in (value if isinstance(value, list | tuple) else [value])]
    return [*words, "--", *behind] if behind else words
