"""A recipe without some layers, exported in every form: llama.cpp makes the same tensors of each."""

import shlex
from pathlib import Path

import pytest

from optimizer import llama
from optimizer.errors import RecipeError
from optimizer.export.layer_types_text import layer_types_text
from optimizer.export.quantize_command import quantize_command
from optimizer.export.tensor_type_file import read_tensor_type_file, tensor_type_file
from optimizer.gguf.provenance import build_block
from optimizer.quantization import quantize
from optimizer.recipes import layer_types_from_recipe, parse, parse_flags, read_recipe, resolve_layer_types
from optimizer.recipes.flags import Flags, parse_layers
from optimizer.recipes.recipe import Recipe
from tests.export.conftest import Subject, contents, mixed_recipe, subject
from tests.export.test_quantize_command import take_apart

KINDS = ["Q3_K", "Q4_K", "Q6_K", "Q8_0"]


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(tmp_path_factory.mktemp("deep"), n_layer=11, n_embd=256, ffn=256)


@pytest.fixture(scope="module")
def recipe(deep: Subject) -> Recipe:
    return mixed_recipe(deep, KINDS, seed=2).without_layers([3, 9])


@pytest.fixture(scope="module")
def ours(deep: Subject, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    block = build_block(recipe.tensor_types, deep.presets.quantizable, {})
    out = tmp_path_factory.mktemp("ours") / "ours.gguf"
    return quantize(deep.model, recipe, deep.presets.quantizable, out, provenance=block)


def test_the_command_and_the_tensor_type_file(deep: Subject, recipe: Recipe, ours: Path, tmp_path: Path) -> None:
    listed, theirs = tmp_path / "types.txt", tmp_path / "theirs.gguf"
    listed.write_text(tensor_type_file(recipe, deep.model), encoding="utf-8")
    for given in (None, listed):
        command = quantize_command(recipe, deep.model, theirs, tensor_type_file=given)
        assert "--prune-layers 3,9" in shlex.join(shlex.split(command.replace("\\\n", "")))
        arguments = take_apart(command)
        layers = [int(layer) for layer in arguments.values["--prune-layers"].split(",")]
        llama.quantize_file(
            deep.path, theirs, arguments.positions[2], tensor_types=arguments.all_patterns, prune_layers=layers,
            threads=2,
        )  # fmt: skip
        assert contents(theirs) == contents(ours)
    assert len(read_tensor_type_file(listed.read_text(encoding="utf-8"))) == len(recipe.kept_types)


def test_layer_types_come_back_as_the_same_recipe(deep: Subject, recipe: Recipe) -> None:
    written = layer_types_from_recipe(recipe, deep.model, deep.presets)
    assert [layer for layer, _ in written.rows] == [0, 1, 2, 4, 5, 6, 7, 8, 10]
    text = layer_types_text(written)
    assert "--prune-layers 3,9" in text
    assert resolve_layer_types(parse(text), deep.model, deep.presets).recipe == recipe


def test_a_file_carries_its_recipe(deep: Subject, recipe: Recipe, ours: Path) -> None:
    assert read_recipe(ours, deep.model, deep.presets).recipe == recipe


def test_rows_of_pruned_layers_need_not_be_there(deep: Subject) -> None:
    rows = ",".join(f'[{layer},"Q4_K_M"]' for layer in range(11) if layer != 4)
    pruned = resolve_layer_types(parse(f"[{rows}]"), deep.model, deep.presets, flags=Flags(prune_layers=(4,))).recipe
    assert pruned == deep.presets["Q4_K_M"].recipe.without_layers([4])
    with pytest.raises(RecipeError, match="lacks layer 4"):
        resolve_layer_types(parse(f"[{rows}]"), deep.model, deep.presets)
    with pytest.raises(RecipeError, match="layer 0 cannot be pruned"):
        resolve_layer_types(parse(f"[{rows}]"), deep.model, deep.presets, flags=Flags(prune_layers=(0, 4)))


def test_the_flag() -> None:
    flags = parse_flags("--prune-layers 5,3,5 --output-tensor-type q6_k")
    assert flags == Flags(None, "Q6_K", prune_layers=(3, 5))
    assert parse_flags(str(flags)) == flags
    assert parse_layers(" 7 , 2,") == (2, 7)
    for bad in ("", "3;5", "-1", "x"):
        with pytest.raises(RecipeError, match="no list of layers"):
            parse_layers(bad)
