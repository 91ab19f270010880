"""YAML with the line of every value, so that a mistake in a suite is reported where it stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluators.errors import EvaluationInputError

Place = tuple[str | int, ...]


class SuiteError(EvaluationInputError):
    """A prompt suite, or a file of answers to it, that cannot be used; the message opens with file and line."""


@dataclass(frozen=True, slots=True)
class LocatedYaml:
    """A document's plain `data`, and the line (from 1) of each value by its keys and indices."""

    path: Path
    data: Any
    lines: Mapping[Place, int]

    @classmethod
    def read(cls, path: Path) -> LocatedYaml:
        """Raises SuiteError where the file cannot be read, is no YAML, or gives a key twice."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SuiteError(f"{path}: cannot be read as UTF-8 text: {error}") from error
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise SuiteError(f"{path}:1: the file is empty; give `name` and `prompts`")
            lines: dict[Place, int] = {}
            _walk(node, (), lines, path, frozenset())
            return cls(path, loader.construct_document(node), lines)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SuiteError(f"{path}:{line}: no valid YAML: {error.problem or error}") from error
        except (yaml.YAMLError, ValueError) as error:
            raise SuiteError(f"{path}: no valid YAML: {error}") from error
        finally:
            loader.dispose()

    def line(self, place: Sequence[str | int]) -> int:
        """The line of that value, or of the nearest thing around it."""
        known: Place = tuple(place)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 1)

    def error(self, place: Sequence[str | int], message: str) -> SuiteError:
        return SuiteError(f"{self.path}:{self.line(place)}: {message}")


def _walk(node: yaml.Node, place: Place, lines: dict[Place, int], path: Path, above: frozenset[int]) -> None:
    if id(node) in above:
        raise SuiteError(f"{path}:{node.start_mark.line + 1}: an alias that holds itself; write the value out")
    lines.setdefault(place, node.start_mark.line + 1)
    above |= {id(node)}
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*place, index), lines, path, above)
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                raise SuiteError(f"{path}:{line}: the key {name!r} is given twice; leave one out")
            seen.add(name)
            lines[(*place, name)] = line
            _walk(value, (*place, name), lines, path, above)
