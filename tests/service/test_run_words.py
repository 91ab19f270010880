"""What of a command line a service runs: every parameter is known for what it is, and no file is reached beside it."""

from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest

from optimizer.cli import make_app
from optimizer.config import SearchConfig
from optimizer.errors import LayerquantError
from optimizer.service.run_parameters import (
    KINDS,
    RUN_COMMANDS,
    SETTINGS,
    SETTINGS_SECTIONS,
    kind_of,
    may_be_set,
)
from optimizer.service.run_words import given_values, parse, words_of
from optimizer.settings import EvaluationSettings, QuantizationSettings

WORDS_OF_LLAMA_CPP = {"cache_type_k", "cache_type_v", "rope_scaling"}
"""Settings that are any text, which llama.cpp's own lists refuse; they name no file."""


def parameters(command: str) -> list[Any]:
    words = ["x.gguf", *(["-o", "y"] if command == "quantize" else [])]
    return list(parse(make_app(command.split()[0]), command, words).command.params)


def annotation(parameter: Any) -> Any:
    """Of one value of it."""
    return parameter.type_descriptor.annotation


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_every_parameter_is_classified(command: str) -> None:
    """A new option must be entered in `run_parameters`; until then it may name the service's files alone."""
    names = {each.name for each in parameters(command)}
    assert names <= KINDS.keys(), f"unclassified: {sorted(names - KINDS.keys())}"


def test_every_path_is_a_file() -> None:
    paths = {each.name for command in RUN_COMMANDS for each in parameters(command) if annotation(each) is Path}
    assert paths >= {"transcripts", "csv_in", "answers", "show_statistics"}
    assert all(KINDS[name] in ("file", "output", "own") for name in paths)


def test_what_is_not_known_is_a_file() -> None:
    assert kind_of("new_option", "x") == "file"
    assert kind_of("new_option", Path("x")) == "file"
    assert kind_of("new_option", 3) == "plain"
    assert kind_of("budget", Path("x")) == "file"


def test_no_setting_that_is_reached_names_a_file() -> None:
    """A setting of these sections that is any text must be looked at here first."""
    assert SETTINGS_SECTIONS == ("evaluation", "quantization")
    found = {
        name
        for section in (EvaluationSettings, QuantizationSettings)
        for name, kind in get_type_hints(section).items()
        if kind is str or str in get_args(kind)
    }
    assert found == WORDS_OF_LLAMA_CPP
    hints = get_type_hints(SearchConfig)
    for name in SETTINGS:
        assert get_origin(hints[name]) is not None or hints[name] is int
        assert str not in get_args(hints[name])


@pytest.mark.parametrize(
    ("assignment", "taken"),
    [
        ("evaluation.chunks=4", True), ("seed=3", True), ("quantization.threads=1", True), ("model=x", False),
        ("evaluation={}", False), ("sensitivities=x", False), ("tracking.mlflow=http://x", False),
        ("execution.cluster=tcp://x", False), ("generation.chat_template=x", False), ("nothing", False),
    ],
)  # fmt: skip
def test_settings(assignment: str, taken: bool) -> None:
    assert may_be_set(assignment) is taken


@pytest.mark.parametrize("command", RUN_COMMANDS)
def test_a_command_line_is_written_as_it_was_read(command: str) -> None:
    """With every parameter that there is."""
    words: list[str] = []
    arguments: list[str] = []
    for each in parameters(command):
        option = next((name for name in each.opts if name.startswith("--")), None)
        value = {int: "9", float: "-0.25"}.get(annotation(each), "-a=b c'\"[]")
        if option is None:
            arguments.append("-x.gguf")
        elif getattr(each, "is_flag", False):
            words.append(option)
        else:
            words += [option, value]
            words += [option, "k=2"] if each.multiple else []
    app = make_app(command.split()[0])
    first = parse(app, command, [*words, "--", *arguments])
    values = given_values(first)
    assert values.keys() == {each.name for each in parameters(command)}
    assert parse(app, command, words_of(first, values)).params == first.params


def test_defaults_and_the_environment_are_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERQUANT_DATABASE", "postgresql://user:s3cret@host/x")
    context = parse(make_app("probe"), "probe", ["x.gguf", "--chunks", "3"])
    assert words_of(context, given_values(context)) == ["--chunks=3", "--", "x.gguf"]


def test_help_is_no_word_for_a_service(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LayerquantError, match="--help"):
        parse(make_app("eval"), "eval", ["--help"], shows_help=False)
    assert capfd.readouterr().out == ""
    with pytest.raises(SystemExit):
        parse(make_app("eval"), "eval", ["--help"])
    assert "--reference" in capfd.readouterr().out
