"""`--prune-layers` and `--prune` from the command line."""

import json
from pathlib import Path

import pytest

from optimizer import llama
from optimizer.export.tensor_type_file import tensor_type_file
from optimizer.gguf.model_file import ModelFile
from optimizer.recipes.presets import load_presets
from tests.export.conftest import contents
from tests.test_cli import Run, cli, models, rows

__all__ = ["cli", "models"]


def test_a_preset_without_layers(cli: Run, models: Path, tmp_path: Path) -> None:
    source = models / "tiny.gguf"
    arguments = ("quantize", source, "--recipe", "Q4_K_M", "--prune-layers", "2", "--plain", "-o")
    code, _, err = cli(*arguments, "out.gguf")
    assert code == 0, err
    assert "without layers 2 of 4" in err
    llama.quantize_file(source, tmp_path / "oracle.gguf", "Q4_K_M", prune_layers=[2], threads=1)
    assert (tmp_path / "out.gguf").read_bytes() == (tmp_path / "oracle.gguf").read_bytes()


def test_other_recipes_without_layers(cli: Run, models: Path, tmp_path: Path) -> None:
    source = models / "tiny.gguf"
    code, _, err = cli("quantize", source, "--layer-types", rows(4), "--prune-layers", "1,2", "-o", "a.gguf")
    assert code == 0, err
    code, _, err = cli("quantize", source, "--recipe", "a.gguf", "-o", "b.gguf")
    assert code == 0, err
    assert contents(tmp_path / "a.gguf") == contents(tmp_path / "b.gguf")
    assert ModelFile.open(tmp_path / "b.gguf").n_layer == 2
    model = ModelFile.open(source)
    recipe = load_presets(model)["Q4_K_M"].recipe.without_layers([1, 2])
    (tmp_path / "types.txt").write_text(tensor_type_file(recipe, model), encoding="utf-8")
    (tmp_path / "recipe.json").write_text(json.dumps(dict(recipe.tensor_types)), encoding="utf-8")
    for given, flags in (("types.txt", ["--prune-layers", "2,1"]), ("recipe.json", [])):
        code, _, err = cli("quantize", source, "--recipe", given, *flags, "-o", "c.gguf")
        assert code == 0, err
        assert contents(tmp_path / "c.gguf") == contents(tmp_path / "a.gguf")


@pytest.mark.parametrize(
    ("layers", "reason"), [("0", "layer 0 cannot"), ("4", "layers 0 to 3"), ("a", "no list of layers")]
)
def test_layers_that_cannot_be_pruned(cli: Run, models: Path, tmp_path: Path, layers: str, reason: str) -> None:
    for recipe in ("Q4_K_M", str(models / "q8.gguf")):
        code, out, err = cli(
            "quantize", models / "tiny.gguf", "--recipe", recipe, "--prune-layers", layers, "-o", "out.gguf"
        )
        assert (code, out) == (2, "")
        assert reason in err
        assert not (tmp_path / "out.gguf").exists()
