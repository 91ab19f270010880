from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.gguf import ModelFile, NewTensor, write_gguf
from optimizer.gguf.provenance import provenance_pair
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.recipes import (
    PresetTable,
    SizeTable,
    complete_recipe,
    file_presets,
    load_hybrids,
    load_presets,
    resolve_layer_types,
)
from tests.gguf.oracle import llama_quantize
from tests.models import tiny_model


@pytest.mark.parametrize(("which", "preset"), [("dense", "Q5_0"), ("odd", "Q4_K_S"), ("experts", "F16")])
def test_a_predicted_size_is_the_size_on_disk(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, preset: str
) -> None:
    model: ModelFile = request.getfixturevalue(which)
    table: PresetTable = request.getfixturevalue(f"{which}_presets")
    assert llama_quantize(model.paths[0], tmp_path / "out.gguf", preset)
    size = SizeTable(model, table.quantizable).file_size(table[preset].recipe, plain=True)
    assert size == (tmp_path / "out.gguf").stat().st_size


def test_bartowskis_variants_are_the_presets_with_large_ends(
    odd: ModelFile, odd_presets: PresetTable, dense: ModelFile, dense_presets: PresetTable, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    assert llama_quantize(dense.paths[0], out, "Q4_K_M", token_embedding_type="Q8_0", output_tensor_type="Q8_0")
    written = ModelFile.open(out)
    variant = file_presets(dense, dense_presets)["Q4_K_L"].recipe
    assert {name: written.by_name[name].tensor_type for name in dense_presets.quantizable} == variant.tensor_types
    assert SizeTable(dense, dense_presets.quantizable).file_size(variant, plain=True) == out.stat().st_size
    assert file_presets(odd, odd_presets)["Q3_K_XL"].recipe.tensor_types["token_embd.weight"] == "Q8_0"
    assert sorted(file_presets(odd, odd_presets)) == ["Q2_K_L", "Q3_K_XL", "Q4_K_L", "Q5_K_L", "Q6_K_L"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_recipe_has_the_size_that_is_written(
    data: st.DataObject, odd: ModelFile, odd_presets: PresetTable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = odd_presets.quantizable
    wanted = {name: data.draw(st.sampled_from(TARGET_TYPES)) for name in names}
    recipe = complete_recipe(wanted, odd, names).recipe
    tensors = [NewTensor(t.name, t.shape, recipe.tensor_types.get(t.name, t.tensor_type)) for t in odd.tensors]
    path = tmp_path_factory.mktemp("sizes") / "out.gguf"
    sizes = SizeTable(odd, names)
    for plain in (True, False):
        pairs = odd.with_file_type(15, () if plain else (provenance_pair(recipe.tensor_types, names, {"a": 1}),))
        write_gguf(path, pairs, tensors, ([bytes(tensor.n_bytes)] for tensor in tensors))
        assert sizes.file_size(recipe, plain=plain) == path.stat().st_size


@pytest.mark.parametrize(
    ("model", "hybrid"),
    [("qwq-32b", "QwQ-32B.Q4_K_H"), ("qwen2.5-14b", "Deepseek-R1-Distill-Qwen-14B.Q4_K_H")],
)
def test_published_sizes_follow_from_shapes_alone(headers: Path, cache: Path, model: str, hybrid: str) -> None:
    file = ModelFile.open(headers / f"{model}-F16.gguf", planning=True)
    table = load_presets(file, cache_dir=cache)
    sizes, published = SizeTable(file, table.quantizable), load_hybrids()[hybrid]
    resolved = resolve_layer_types(published.layer_types, file, table)
    size = sizes.file_size(resolved.recipe, plain=True)
    assert round(size / 1e9, 1) == published.published["size_bytes"] / 1e9
    iq4_xs = sizes.file_size(table["IQ4_XS"].recipe, plain=True)
    assert round(iq4_xs / 1e9, 1) == published.published["iq4_xs_size_bytes"] / 1e9


def test_the_metadata_block_costs_the_same_for_every_recipe(dense: ModelFile, dense_presets: PresetTable) -> None:
    sizes = SizeTable(dense, dense_presets.quantizable)
    recipes = [preset.recipe for preset in dense_presets.presets.values()]
    costs = {sizes.file_size(recipe) - sizes.file_size(recipe, plain=True) for recipe in recipes}
    assert len(costs) == 1
    assert 1024 < costs.pop() < 2048
    assert sizes.bits_per_weight(sizes.file_size(dense_presets["F16"].recipe, plain=True)) == pytest.approx(16, abs=0.1)


def test_a_source_that_carries_a_block_does_not_count_it_twice(tmp_path: Path, cache: Path) -> None:
    plain = ModelFile.open(tiny_model(tmp_path / "a", "llama", n_layer=1))
    table = load_presets(plain, cache_dir=cache)
    block = provenance_pair(table["F16"].tensor_types, table.quantizable, {})
    ours = ModelFile.open(tiny_model(tmp_path / "b", "llama", n_layer=1, extra=[block]))
    recipe = table["Q4_K_M"].recipe
    expected = SizeTable(plain, table.quantizable).file_size(recipe)
    assert SizeTable(ours, table.quantizable).file_size(recipe) == expected
