"""Sensitivities read from files: layerquant's own table, and the `kld_results.csv` of Thireus' GGUF-Tool-Suite.

Ours has one row a probe: unit, tensor_type, kld, and more columns that are not read. Theirs has one row a tensor type
(`QTYPE`, in ggml's spelling) and one column a tensor; a cell is the KLD of the model with that tensor at that type and
the rest at their baseline type. `404`, `0` and an empty cell mean that nothing was measured, a percent sign that the
cell is a change relative to the baseline (of perplexity). A file with the one column `group0` holds whole models.
"""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optimizer.errors import ConfigError, RecipeError
from optimizer.gguf.tensor_types import TENSOR_TYPES, parse_tensor_type
from optimizer.search.type_curve import FLOAT_TYPES
from optimizer.search.units import group_tensors

LAYERQUANT, TOOL_SUITE = "layerquant", "tool-suite"
FORMATS = (LAYERQUANT, TOOL_SUITE)
UNIFORM = "uniform"
WHOLE_MODEL = "group0"
_MISSING = frozenset({"", "0", "0%", "404", "404%"})
MIN_COVERED = 0.5
"""A file that covers fewer of a model's groups than this share is taken for another model's."""


@dataclass(frozen=True)
class SensitivityTable:
    """klds: type -> subject -> nats per token. Subjects are tensors (theirs), or groups, layers and roles (ours).
    Theirs may name types that llama.cpp has not (`iq1_kt`): no probe of ours, but as good for comparing parts.

    curve: type -> the whole model's KLD. base_type: what ours kept the rest at, "" where unknown.
    relative: cells are percentages, good for comparing parts only.
    """

    path: Path
    form: str
    klds: Mapping[str, Mapping[str, float]]
    curve: Mapping[str, float]
    base_type: str = ""
    relative: bool = False

    @classmethod
    def read(cls, path: Path) -> "SensitivityTable":
        """Either form, told apart by the header. ConfigError names the line that cannot be read."""
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = list(csv.reader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from None
        header = [name.strip() for name in lines[0]] if lines else []
        if header[:1] == ["QTYPE"]:
            return _read_tool_suite(path, header, lines[1:])
        if {"unit", "tensor_type", "kld"} <= set(header):
            return _read_own(path, header, lines[1:])
        raise ConfigError(
            f"{path}: a table of sensitivities needs the columns unit, tensor_type and kld, or (GGUF-Tool-Suite) QTYPE "
            "and one column a tensor"
        )

    @property
    def subjects(self) -> list[str]:
        return list({subject: None for row in self.klds.values() for subject in row})

    def by_part(self, tensor_type: str, parts: Mapping[str, Sequence[str]]) -> dict[str, float]:
        """Part (name -> its tensors) -> KLD at a type, of the parts that the file has whole.

        Theirs is summed over a part's tensors, for damage is nearly additive; equal cells of one tensor group are one
        measurement of all its tensors together (`--expand-groups`) and count once.
        """
        row = self.klds.get(tensor_type, {})
        if self.form == LAYERQUANT:
            return {part: row[part] for part in parts if part in row}
        found: dict[str, float] = {}
        for part, tensors in parts.items():
            if not all(tensor in row for tensor in tensors):
                continue
            groups = [[row[tensor] for tensor in group] for group in group_tensors(tensors, "groups").values()]
            found[part] = sum(cells[0] if len(set(cells)) == 1 else sum(cells) for cells in groups)
        return found


def check_same_model(table: SensitivityTable, known: Iterable[str], covered: int, wanted: int) -> None:
    """Refuse a table that names what this model has not, or that has too little of what it has."""
    names = set(known)
    strange = [subject for subject in table.subjects if subject not in names]
    if strange:
        raise ConfigError(
            f"{table.path} names {', '.join(strange[:3])}{' …' if len(strange) > 3 else ''} ({len(strange)} of its "
            f"{len(table.subjects)} parts), which this model has not; it was made for another model"
        )
    if covered < MIN_COVERED * wanted:
        raise ConfigError(
            f"{table.path} has sensitivities of {covered} of this model's {wanted} tensor groups; it was made for "
            "another model, or is far from complete"
        )


def _read_own(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> SensitivityTable:
    klds: dict[str, dict[str, float]] = {}
    curve: dict[str, float] = {}
    bases: set[str] = set()
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        row = dict(zip(header, line, strict=False))
        kld = _number(path, number, row.get("kld", ""))
        try:
            tensor_type = parse_tensor_type(row.get("tensor_type", ""))
        except RecipeError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        bases.add(row.get("base", ""))
        if row["unit"] == UNIFORM:
            curve[tensor_type] = kld
        else:
            klds.setdefault(tensor_type, {})[row["unit"]] = kld
    return SensitivityTable(path, LAYERQUANT, klds, curve, bases.pop() if len(bases) == 1 else "")


def _read_tool_suite(path: Path, header: Sequence[str], lines: Sequence[Sequence[str]]) -> SensitivityTable:
    klds: dict[str, dict[str, float]] = {}
    grouped = [name for name in header[1:] if name.startswith("group") and name[5:].isdigit()]
    whole = list(header[1:]) == [WHOLE_MODEL]
    if grouped and not whole:
        raise ConfigError(
            f"{path}: the column {grouped[0]} stands for a group of tensors that the file does not name; "
            "collect the results again with --expand-groups"
        )
    relative = False
    for number, line in enumerate(lines, start=2):
        tensor_type = _their_type(line[0]) if line else None
        if tensor_type is None:
            continue
        cells = {name: cell.strip() for name, cell in zip(header[1:], line[1:], strict=False)}
        relative = relative or any(cell.endswith("%") for cell in cells.values())
        row = {name: _number(path, number, cell) for name, cell in cells.items() if cell not in _MISSING}
        if row:
            klds[tensor_type] = row
    if whole:
        curve = {kind: row[WHOLE_MODEL] for kind, row in klds.items() if kind in TENSOR_TYPES}
        return SensitivityTable(path, TOOL_SUITE, {}, curve, relative=relative)
    return SensitivityTable(path, TOOL_SUITE, klds, {}, relative=relative)


def _their_type(name: str) -> str | None:
    """Our spelling; a type of ik_llama.cpp alone keeps theirs. None for the baseline and BitNet's types."""
    try:
        tensor_type = parse_tensor_type(name)
    except RecipeError:
        return None if "_bn" in name.lower() else name.strip()
    return None if tensor_type in FLOAT_TYPES else tensor_type


def _number(path: Path, line: int, text: str) -> float:
    percent = text.endswith("%")
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (value < 0 and not percent):
        raise ConfigError(f"{path}, line {line}: {text!r} is no KLD (a number, not negative)")
    return value / 100 if percent else value
