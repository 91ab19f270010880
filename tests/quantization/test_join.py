"""One file out of a recipe: byte for byte llama-quantize's, checked after writing, whole or not there."""

import importlib
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from optimizer import llama
from optimizer.errors import ConfigError, GgufError, StorageError
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.provenance import build_block
from optimizer.quantization import ShardBank, assemble, file_type_of, join, quantize
from optimizer.quantization.imatrix_pairs import with_imatrix_pairs
from optimizer.recipes.recipe import Recipe
from optimizer.recipes.sizes import SizeTable
from tests.models import tiny_model
from tests.quantization.conftest import Subject, imatrix_of, subject

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("preset", ["Q2_K", "Q4_K_M", "Q6_K", "IQ4_XS", "Q8_0", "F32", "BF16"])
def test_a_plain_file_is_llama_quantizes(dense: Subject, bank: ShardBank, tmp_path: Path, preset: str) -> None:
    oracle = tmp_path / "oracle.gguf"
    llama.quantize_file(dense.path, oracle, preset, threads=2)
    recipe, number = dense.presets[preset].recipe, llama.file_type_number(preset)
    names = dense.presets.quantizable
    with assemble(dense.model, recipe, names, bank) as candidate:
        joined = join(dense.model, candidate, tmp_path / "joined.gguf", file_type=number)
    assert joined.read_bytes() == oracle.read_bytes()
    direct = quantize(dense.model, recipe, names, tmp_path / "direct.gguf", file_type=number, threads=2)
    assert direct.read_bytes() == oracle.read_bytes()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("qwen3moe", {"n_layer": 1, "ffn": 256, "experts": 3}),
        ("qwen3", {"n_layer": 2, "tied": True, "tensor_type": "BF16", "splits": 3}),
        ("qwen3", {"n_layer": 1, "ffn": 96, "tensor_type": "F32"}),
        ("qwen2", {"n_layer": 1}),
    ],
    ids=["experts", "split-tied-bf16", "odd-rows", "biases"],
)
def test_other_models_too(tmp_path: Path, architecture: str, options: dict[str, object]) -> None:
    own = subject(tmp_path, architecture, **options)
    oracle = tmp_path / "oracle.gguf"
    llama.quantize_file(own.path, oracle, "Q4_K_M", threads=2)
    out = quantize(
        own.model, own.presets["Q4_K_M"].recipe, own.presets.quantizable, tmp_path / "out.gguf", file_type=15
    )
    assert out.read_bytes() == oracle.read_bytes()


def test_with_an_imatrix_as_well(dense: Subject, tmp_path: Path) -> None:
    imatrix, oracle = imatrix_of(dense.model), tmp_path / "oracle.gguf"
    vectors = dict(imatrix.vectors)
    llama.quantize_file(dense.path, oracle, "Q3_K_M", importance=vectors, threads=2)
    recipe = dense.presets["Q3_K_M"].recipe
    out = quantize(
        dense.model, recipe, dense.presets.quantizable, tmp_path / "out.gguf", imatrix=imatrix, file_type=12, threads=2
    )
    assert out.read_bytes() == oracle.read_bytes()


@pytest.mark.parametrize("pruned", [(), (1,)])
def test_the_imatrix_is_named_as_llama_quantize_names_it(
    dense: Subject, tmp_path: Path, pruned: tuple[int, ...]
) -> None:
    imatrix = replace(
        imatrix_of(dense.model), path=Path("some/where/imatrix.gguf"), chunk_count=20, datasets=("a.txt",)
    )
    model, oracle = with_imatrix_pairs(dense.model, imatrix), tmp_path / "oracle.gguf"
    said = {"file": "imatrix.gguf", "dataset": "a.txt", "entries_count": len(imatrix.vectors), "chunks_count": 20}
    metadata = {f"quantize.imatrix.{key}": value for key, value in said.items()}
    llama.quantize_file(
        dense.path,
        oracle,
        "Q4_K_S",
        importance=dict(imatrix.vectors),
        metadata=metadata,
        prune_layers=pruned,
        threads=2,
    )
    names, recipe = dense.presets.quantizable, dense.presets["Q4_K_S"].recipe.without_layers(pruned)
    out = quantize(model, recipe, names, tmp_path / "out.gguf", imatrix=imatrix, file_type=14, threads=2)
    assert out.read_bytes() == oracle.read_bytes()
    assert out.stat().st_size == SizeTable(model, names).file_size(recipe, plain=True)
    again = with_imatrix_pairs(ModelFile.open(out), replace(imatrix, datasets=("another.txt",)))
    assert [pair.key for pair in again.output_pairs].count("quantize.imatrix.dataset") == 1


def test_provenance_and_size(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    names, recipe = dense.presets.quantizable, dense.presets["Q5_K_M"].recipe
    block = build_block(recipe.tensor_types, names, {"source_name": "tiny"})
    sizes = SizeTable(dense.model, names)
    with_block = quantize(dense.model, recipe, names, tmp_path / "a.gguf", bank=bank, provenance=block)
    plain = quantize(dense.model, recipe, names, tmp_path / "b.gguf", bank=bank)
    assert ModelFile.open(with_block).metadata["layerquant.recipe"] == block
    assert with_block.stat().st_size == sizes.file_size(recipe)
    assert plain.stat().st_size == sizes.file_size(recipe, plain=True)
    # What layerquant made can be made again, and then carries one block.
    own = ModelFile.open(with_block)
    again = quantize(own, recipe, names, tmp_path / "c.gguf", provenance=block.replace("tiny", "ynit"))
    assert "ynit" in str(ModelFile.open(again).metadata["layerquant.recipe"])


def test_the_file_type_is_the_presets_or_that_of_most_weights(dense: Subject) -> None:
    recipes = {name: preset.tensor_types for name, preset in dense.presets.presets.items()}
    for name in ("Q4_K_S", "Q3_K_L", "IQ4_XS"):
        assert file_type_of(dense.model, recipes[name], recipes) == llama.file_type_number(name)
    assert file_type_of(dense.model, recipes["Q4_K_S"]) == llama.file_type_number("Q4_K_M")
    assert file_type_of(dense.model, recipes["F32"]) == 0


def test_progress_reaches_the_end(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    names, recipe = dense.presets.quantizable, dense.presets["Q4_0"].recipe
    for given in (None, bank):
        seen: list[tuple[int, int]] = []
        quantize(
            dense.model, recipe, names, tmp_path / "o.gguf", bank=given, progress=lambda *s, seen=seen: seen.append(s)
        )
        assert seen == sorted(seen)
        assert seen[0][0] < seen[0][1] / 2
        assert seen[-1][0] == seen[-1][1]


def test_a_small_disk_is_noticed_before_work_starts(
    dense: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(StorageError, match=r"disk too small for out\.gguf: .* needed in .*, 1\.00 MB free"):
        quantize(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


def test_what_reads_back_differently_is_not_kept(
    dense: Subject, bank: ShardBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("optimizer.quantization.join")
    copy = module.copy_bytes

    def failing_disk(source: int, source_offset: int, target: int, target_offset: int, n_bytes: int) -> None:
        copy(source, source_offset, target, target_offset, n_bytes - 1)

    names = dense.presets.quantizable
    out = tmp_path / "out" / "out.gguf"
    with assemble(dense.model, dense.presets["Q8_0"].recipe, names, bank) as candidate:
        monkeypatch.setattr(module, "copy_bytes", failing_disk)
        with pytest.raises(StorageError, match="read back differs"):
            join(dense.model, candidate, out)
    assert list(out.parent.iterdir()) == []


def test_an_interrupted_join_leaves_nothing(dense: Subject, bank: ShardBank, tmp_path: Path) -> None:
    out = tmp_path / "out" / "out.gguf"
    out.parent.mkdir()
    out.write_bytes(b"what was there before")

    def interrupt(done: int, total: int) -> None:
        if done > total / 3:
            raise KeyboardInterrupt

    names, recipe = dense.presets.quantizable, dense.presets["Q8_0"].recipe
    for given in (None, bank):
        with pytest.raises(KeyboardInterrupt):
            quantize(dense.model, recipe, names, out, bank=given, progress=interrupt)
        assert [path.name for path in out.parent.iterdir()] == ["out.gguf"]
        assert out.read_bytes() == b"what was there before"


def test_never_writes_over_the_source(dense: Subject, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(dense.path)
    before = dense.path.read_bytes()
    for out, reason in ((dense.path, "source model itself"), (link, "source model itself"), (tmp_path, "is a folder")):
        with pytest.raises(ConfigError, match=reason):
            quantize(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, out)
    assert dense.path.read_bytes() == before


def test_a_quantized_source_needs_permission(tmp_path: Path) -> None:
    own = subject(tmp_path, n_layer=1, tensor_type="Q8_0")
    recipe, names, out = own.presets["Q4_K_M"].recipe, own.presets.quantizable, tmp_path / "out.gguf"
    with pytest.raises(GgufError, match="--allow-requantize"):
        quantize(own.model, recipe, names, out)
    assert not out.exists()
    quantize(own.model, recipe, names, out, allow_requantize=True, file_type=15)
    llama.quantize_file(own.path, tmp_path / "oracle.gguf", "Q4_K_M", allow_requantize=True, threads=2)
    assert out.read_bytes() == (tmp_path / "oracle.gguf").read_bytes()


def test_native_mxfp4_tensors_are_kept(tmp_path: Path) -> None:
    path = tiny_model(tmp_path, "qwen3moe", n_layer=1, ffn=256, experts=2, tensor_type="MXFP4")
    model = ModelFile.open(path)
    out = quantize(model, Recipe({}), (), tmp_path / "out.gguf")
    written = ModelFile.open(out)
    assert [tensor.tensor_type for tensor in written.tensors] == [tensor.tensor_type for tensor in model.tensors]
    assert written.metadata["general.file_type"] == llama.file_type_number("MXFP4_MOE")
