"""Which type each preset of llama.cpp gives to each tensor of a model: asked of llama.cpp, kept on disk.

Thirty dry runs over a 771-tensor model take about a second, nearly all of it in llama.cpp; the answer depends on
shapes, hyperparameters and llama.cpp's version only, so it is kept in the cache folder under a hash of those.
"""

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from optimizer.errors import EngineError, RecipeError, StorageError
from optimizer.gguf import ModelFile, block_number, parse_tensor_type
from optimizer.gguf.model_file import NATIVE_TYPES
from optimizer.gguf.pruning import renumbered, without_layers
from optimizer.gguf.sparse import planning_header, write_sparse
from optimizer.recipes.dry_run import FTYPES, DryRun, Request, dry_run
from optimizer.recipes.imatrix_rules import requires_imatrix
from optimizer.recipes.recipe import PRUNED, Fallbacks, Recipe

ALIASES: Mapping[str, str] = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4": "MXFP4_MOE"}
"""Other names of presets: llama-quantize's, and what rows on model cards call MXFP4_MOE."""

IMATRIX_SENSITIVE = ("Q4_0", "Q5_0", "IQ4_XS", "IQ4_NL", "IQ3_XXS")
"""Presets that choose other types when there is an importance matrix; a test asks llama.cpp whether these are all."""

MANY_TENSORS = 500
"""Above this many, two child processes answer sooner than one."""

_CACHE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Preset:
    name: str
    tensor_types: Mapping[str, str]
    """Every quantizable tensor -> what the preset gives it, fallbacks resolved."""
    needs_imatrix: bool
    """llama-quantize refuses this preset for this model without an importance matrix."""
    fallbacks: Fallbacks
    """Tensors whose rows do not fit the type the preset wants."""
    imatrix_dependent: frozenset[str] = frozenset()
    """Tensors that get another type when an importance matrix is given, or none is."""

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.tensor_types)


@dataclass(frozen=True, slots=True)
class PresetTable:
    presets: Mapping[str, Preset]
    """By name, from many bits to few."""
    quantizable: tuple[str, ...]
    """The tensors that llama.cpp would quantize, in its order; natively quantized ones (MXFP4) are not among them."""
    imatrix: bool
    """Whether the presets chose as if there were an importance matrix."""
    refused: Mapping[str, str]
    """Presets that llama.cpp cannot apply to this model, with the end of its log."""

    def find(self, name: str) -> Preset | None:
        """A preset by its name or llama-quantize's alias, in any case."""
        upper = name.strip().upper()
        return self.presets.get(ALIASES.get(upper, upper))

    def __getitem__(self, name: str) -> Preset:
        preset = self.find(name)
        if preset is None:
            raise RecipeError(f"{name!r} is no preset of llama.cpp. Known: {', '.join(self.presets)}.")
        return preset


def load_presets(
    model: ModelFile, *, imatrix: bool = False, cache_dir: Path | None = None, pruned: Sequence[int] = ()
) -> PresetTable:
    """The presets' types for this model, from the cache or from llama.cpp.

    Args:
        imatrix: choose as llama-quantize would with an importance matrix.
        cache_dir: instead of $LAYERQUANT_CACHE_DIR, $XDG_CACHE_HOME/layerquant or ~/.cache/layerquant.
        pruned: layers left out; the others get what llama-quantize gives them with --prune-layers, which still counts
            the layers that are gone. Tensors keep the source's names, and those of the pruned layers are PRUNED.

    Raises:
        EngineError: llama.cpp cannot plan this model.
        RecipeError: these layers cannot be pruned.
    """
    folder = cache_dir or default_cache_dir()
    kept = without_layers(model, pruned)
    without = f"|{kept.pruned_layers}" if kept.pruned_layers else ""
    asked = f"|{engine_build()}|{imatrix}|{_CACHE_VERSION}{without}"
    key = hashlib.sha256(planning_header(model) + asked.encode()).hexdigest()
    path = folder / "presets" / f"{key}.json"
    answers = _read_cache(path)
    if answers is None:
        answers = _ask(model, imatrix, kept.pruned_layers)
        _write_cache(path, answers)
    table = _table(kept, answers, imatrix)
    if not kept.pruned_layers:
        return table
    whole = load_presets(model, imatrix=imatrix, cache_dir=cache_dir)
    return _by_source_names(model, table, whole, kept.pruned_layers)


def default_cache_dir() -> Path:
    own, xdg = os.environ.get("LAYERQUANT_CACHE_DIR"), os.environ.get("XDG_CACHE_HOME")
    if own:
        return Path(own)
    return (Path(xdg) if xdg else Path.home() / ".cache") / "layerquant"


def engine_build() -> str:
    """Which llama.cpp answers, found without loading it: the binding's version and the library file's size and date."""
    version = importlib.metadata.version("llama-cpp-python")
    spec = importlib.util.find_spec("llama_cpp")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    libraries = sorted(library.resolve() for folder in folders for library in (folder / "lib").glob("*llama.*"))
    stats = [f"{library.name}:{library.stat().st_size}:{library.stat().st_mtime_ns}" for library in libraries]
    return "|".join([version, *stats])


Answers = dict[Request, DryRun | str]


def _ask(model: ModelFile, imatrix: bool, pruned: Sequence[int]) -> Answers:
    requests: list[Request] = [(name, imatrix) for name in FTYPES]
    requests += [(name, not imatrix) for name in IMATRIX_SENSITIVE]
    try:
        scratch = tempfile.TemporaryDirectory(prefix="layerquant-plan-")
    except OSError as error:
        raise StorageError(f"no folder for temporary files can be made ({error}). Point TMPDIR to one.") from error
    with scratch as folder:
        path = Path(folder) / "planning.gguf"
        write_sparse(model, path)
        try:
            return dry_run(path, requests, pruned, processes=2 if len(model.tensors) > MANY_TENSORS else 1)
        except EngineError as error:
            raise EngineError(str(error).replace(str(path), str(model.paths[0]))) from error


def _table(model: ModelFile, answers: Answers, imatrix: bool) -> PresetTable:
    names = [tensor.name for tensor in model.tensors]
    mine = {name: answer for (name, with_imatrix), answer in answers.items() if with_imatrix == imatrix}
    runs = {name: _checked(model, name, answer) for name, answer in mine.items() if isinstance(answer, DryRun)}
    quantizable = tuple(
        tensor.name
        for index, tensor in enumerate(model.tensors)
        if tensor.tensor_type not in NATIVE_TYPES
        and any(run.target_types[index] != run.source_types[index] for run in runs.values())
    )
    known = set(quantizable)
    presets: dict[str, Preset] = {}
    for name, run in runs.items():
        types = _types(names, run, known)
        other = answers.get((name, not imatrix))
        other_types = _types(names, other, known) if isinstance(other, DryRun) else types
        fallbacks = {
            tensor: (parse_tensor_type(wanted), parse_tensor_type(given))
            for tensor, (wanted, given) in run.fallbacks.items()
            if tensor in known
        }
        dependent = frozenset(tensor for tensor in quantizable if types[tensor] != other_types[tensor])
        needs = any(requires_imatrix(tensor, types[tensor], preset=name) for tensor in quantizable)
        presets[name] = Preset(name, types, needs, fallbacks, dependent)
    refused = {name: answer for name, answer in mine.items() if isinstance(answer, str)}
    return PresetTable(presets, quantizable, imatrix, refused)


def _by_source_names(model: ModelFile, table: PresetTable, whole: PresetTable, pruned: Sequence[int]) -> PresetTable:
    """A table of the pruned file's tensors as one of the source's; `whole` is that of the model with all layers."""
    source = {renumbered(t.name, pruned): t.name for t in model.tensors if block_number(t.name) not in pruned}
    presets = {}
    for name, preset in table.presets.items():
        types = {source[tensor]: given for tensor, given in preset.tensor_types.items()}
        presets[name] = replace(
            preset,
            tensor_types={tensor: types.get(tensor, PRUNED) for tensor in whole.quantizable},
            fallbacks={source[tensor]: pair for tensor, pair in preset.fallbacks.items()},
            imatrix_dependent=frozenset(source[tensor] for tensor in preset.imatrix_dependent),
        )
    return PresetTable(presets, whole.quantizable, table.imatrix, table.refused)


def _types(names: Sequence[str], run: DryRun, known: set[str]) -> dict[str, str]:
    pairs = zip(names, run.target_types, strict=True)
    return {name: parse_tensor_type(given) for name, given in pairs if name in known}


def _checked(model: ModelFile, preset: str, run: DryRun) -> DryRun:
    if len(run.target_types) != len(model.tensors):
        raise EngineError(
            f"{model.paths[0]}: llama.cpp named {len(run.target_types)} of {len(model.tensors)} tensors for {preset}. "
            "Its log has another form than this program reads: is another llama.cpp installed than the pinned one?"
        )
    return run


def _read_cache(path: Path) -> Answers | None:
    try:
        stored: list[list[Any]] = json.loads(path.read_text(encoding="utf-8"))
        return {(name, imatrix): _read_answer(value) for name, imatrix, value in stored}
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: llama.cpp is asked again


def _read_answer(value: Any) -> DryRun | str:
    if isinstance(value, str):
        return value
    fallbacks = {name: (wanted, given) for name, (wanted, given) in value["fallbacks"].items()}
    return DryRun(tuple(value["source"]), tuple(value["target"]), fallbacks)


def _write_cache(path: Path, answers: Answers) -> None:
    stored = [
        [
            name,
            imatrix,
            value
            if isinstance(value, str)
            else {"source": value.source_types, "target": value.target_types, "fallbacks": dict(value.fallbacks)},
        ]
        for (name, imatrix), value in answers.items()
    ]
    beside = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    with contextlib.suppress(OSError):  # a cache that cannot be written costs a second at the next start, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(json.dumps(stored), encoding="utf-8")
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
