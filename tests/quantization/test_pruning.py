"""Pruned files: tensor for tensor what llama-quantize writes with --prune-layers, and loadable where its own is not."""

from pathlib import Path

import numpy as np
import pytest

from evaluators.errors import EvaluationError
from evaluators.runtime import Runtime
from evaluators.settings import RuntimeSettings
from optimizer import llama
from optimizer.errors import RecipeError
from optimizer.gguf.metadata import ValueType, encode_pair
from optimizer.gguf.model_file import ModelFile
from optimizer.gguf.provenance import build_block
from optimizer.gguf.write import NewTensor, write_gguf
from optimizer.quantization import ShardBank, assemble, join, quantize
from optimizer.quantization.candidate import link_folder
from optimizer.recipes.presets import load_presets
from optimizer.recipes.recipe import PRUNED
from optimizer.recipes.sizes import SizeTable
from tests.quantization.conftest import Subject, imatrix_of, subject

SETTINGS = RuntimeSettings(ctx_size=32, batch_size=32, threads=1)


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """12 layers, so that numbers lose a digit and presets' rules see the count."""
    return subject(tmp_path_factory.mktemp("deep"), n_layer=12, n_embd=256, ffn=256)


def contents(path: Path) -> list[tuple[str, str, bytes]]:
    data = path.read_bytes()
    return [(t.name, t.tensor_type, data[t.offset : t.offset + t.n_bytes]) for t in ModelFile.open(path).tensors]


def logits(*paths: Path) -> np.ndarray:
    with Runtime(paths, SETTINGS) as runtime:
        return np.concatenate([step.logits.copy() for step in runtime.decode(np.arange(32, dtype=np.int32), [0])])


@pytest.mark.parametrize(("preset", "layers"), [("Q4_K_M", (3,)), ("Q3_K_L", (1, 10)), ("Q4_K_S", (2, 3, 11))])
def test_a_presets_file_is_llama_quantizes(
    deep: Subject, bank: ShardBank, tmp_path: Path, preset: str, layers: tuple[int, ...]
) -> None:
    oracle = tmp_path / "oracle.gguf"
    llama.quantize_file(deep.path, oracle, preset, prune_layers=layers, threads=2)
    presets = load_presets(deep.model, cache_dir=deep.path.parent, pruned=layers)
    recipe, number = presets[preset].recipe, llama.file_type_number(preset)
    assert recipe.pruned_layers == layers
    with assemble(deep.model, recipe, presets.quantizable, bank) as candidate:
        joined = join(deep.model, candidate, tmp_path / "joined.gguf", file_type=number)
    assert joined.read_bytes() == oracle.read_bytes()
    direct = quantize(deep.model, recipe, presets.quantizable, tmp_path / "direct.gguf", file_type=number, threads=2)
    assert direct.read_bytes() == oracle.read_bytes()
    assert SizeTable(deep.model, presets.quantizable).file_size(recipe, plain=True) == oracle.stat().st_size


def test_the_layers_that_are_gone_still_count_for_a_preset(deep: Subject, tmp_path: Path) -> None:
    """llama-quantize's rules by position see the source's number of layers and the tensors that are left."""
    pruned = load_presets(deep.model, cache_dir=deep.path.parent, pruned=(1, 2, 3))["Q4_K_M"].tensor_types
    whole = deep.presets["Q4_K_M"].tensor_types
    assert any(pruned[name] not in (PRUNED, whole[name]) for name in whole)


def test_importance_is_that_of_the_layer_in_the_source(deep: Subject, bank: ShardBank, tmp_path: Path) -> None:
    imatrix, oracle = imatrix_of(deep.model), tmp_path / "oracle.gguf"
    llama.quantize_file(deep.path, oracle, "Q3_K_M", importance=dict(imatrix.vectors), prune_layers=[4], threads=2)
    presets = load_presets(deep.model, imatrix=True, cache_dir=deep.path.parent, pruned=[4])
    recipe = presets["Q3_K_M"].recipe
    for given in (None, bank):
        out = quantize(
            deep.model, recipe, presets.quantizable, tmp_path / "out.gguf", bank=given, imatrix=imatrix, file_type=12
        )
        assert out.read_bytes() == oracle.read_bytes()


def test_a_candidate_computes_what_its_file_computes(deep: Subject, bank: ShardBank, tmp_path: Path) -> None:
    recipe = deep.presets["Q6_K"].recipe.without_layers([5])
    names = deep.presets.quantizable
    with assemble(deep.model, recipe, names, bank) as candidate:
        joined = join(deep.model, candidate, tmp_path / "joined.gguf")
        expected = logits(joined)
        assert np.array_equal(logits(*candidate.paths), expected)
        assert np.array_equal(logits(link_folder(candidate, tmp_path / "folder", "m")), expected)
    with assemble(deep.model, recipe, names, bank, max_files=7) as candidate:
        assert len(candidate.paths) <= 7
        assert np.array_equal(logits(*candidate.paths), expected)
    assert ModelFile.open(joined).metadata["qwen3.block_count"] == 11


def test_nothing_is_quantized_again_for_a_pruned_candidate(deep: Subject, bank: ShardBank) -> None:
    names, recipe = deep.presets.quantizable, deep.presets["Q4_K_M"].recipe
    with assemble(deep.model, recipe, names, bank):
        pass
    quantized: list[str] = []
    before = bank._quantize  # type: ignore[attr-defined]
    bank._quantize = lambda request, stop: quantized.append(request.path.name) or before(request, stop)  # type: ignore
    without = [recipe.without_layers([layer]) for layer in (5, 6)]
    with assemble(deep.model, without[0], names, bank) as first, assemble(deep.model, without[1], names, bank) as other:
        assert len({*first.paths} & {*other.paths}) > len(first.paths) / 2
    assert [name for name in quantized if "meta" not in name] == []


def test_arrays_of_a_value_a_layer_are_shortened(deep: Subject, tmp_path: Path) -> None:
    """llama-quantize leaves them as they are, and llama.cpp then refuses its file."""
    heads = encode_pair("qwen3.attention.head_count_kv", ValueType.UINT32, [2] * 12)
    path, data = tmp_path / "arrays.gguf", deep.path.read_bytes()
    pairs = [heads if pair.key == heads.key else pair for pair in deep.model.metadata.pairs]
    tensors = [NewTensor(t.name, t.shape, t.tensor_type) for t in deep.model.tensors]
    write_gguf(path, pairs, tensors, [[data[t.offset : t.offset + t.n_bytes]] for t in deep.model.tensors])
    model, names = ModelFile.open(path), deep.presets.quantizable
    recipe = deep.presets["Q8_0"].recipe.without_layers([2, 3])
    out = quantize(model, recipe, names, tmp_path / "out.gguf")
    assert ModelFile.open(out).metadata[heads.key] == (2,) * 10
    assert np.isfinite(logits(out)).all()
    oracle = tmp_path / "oracle.gguf"
    llama.quantize_file(path, oracle, "Q8_0", prune_layers=[2, 3], threads=2)
    assert contents(out) == contents(oracle)
    with pytest.raises(EvaluationError, match=r"does not load|wrong array length"):
        logits(oracle)


def test_the_size_with_the_metadata_block(deep: Subject, tmp_path: Path) -> None:
    names = deep.presets.quantizable
    recipe = deep.presets["Q5_K_M"].recipe.without_layers([1, 9])
    block = build_block(recipe.tensor_types, names, {"source_name": "deep"})
    out = quantize(deep.model, recipe, names, tmp_path / "out.gguf", provenance=block)
    assert out.stat().st_size == SizeTable(deep.model, names).file_size(recipe)


def test_a_layer_pruned_in_part_is_refused(deep: Subject, bank: ShardBank, tmp_path: Path) -> None:
    recipe = deep.presets["Q8_0"].recipe.replace({"blk.3.attn_v.weight": PRUNED})
    names = deep.presets.quantizable
    with pytest.raises(RecipeError, match="layer 3 is pruned"):
        assemble(deep.model, recipe, names, bank)
    with pytest.raises(RecipeError, match="layer 3 is pruned"):
        quantize(deep.model, recipe, names, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
