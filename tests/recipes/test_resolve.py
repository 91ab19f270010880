import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.errors import RecipeError
from optimizer.gguf import ModelFile, NewTensor, string_pair, uint32_pair
from optimizer.gguf.provenance import provenance_pair
from optimizer.gguf.tensor_types import TARGET_TYPES
from optimizer.gguf.write import header_bytes
from optimizer.recipes import (
    Flags,
    LayerTypes,
    PresetTable,
    Recipe,
    complete_recipe,
    format_shell,
    layer_types_from_recipe,
    load_presets,
    parse,
    read_layer_types,
    read_recipe,
    recipe_from_layer_types,
    resolve_layer_types,
)
from optimizer.recipes.layer_type_sets import read_definitions
from tests.models import tiny_model


def uniform(name: str, n_layer: int, *meta_rows: tuple[str, ...]) -> LayerTypes:
    return LayerTypes(tuple((layer, name) for layer in range(n_layer)), meta_rows)


def layer_of(recipe: Recipe, layer: int) -> dict[str, str]:
    prefix = f"blk.{layer}."
    return {
        name.removeprefix(prefix).removesuffix(".weight"): given
        for name, given in recipe.tensor_types.items()
        if name.startswith(prefix)
    }


def test_a_preset_on_every_layer_is_the_preset(dense: ModelFile, dense_presets: PresetTable) -> None:
    for name in ("Q4_K_M", "Q3_K_L", "IQ4_XS", "MXFP4_MOE"):
        resolved = resolve_layer_types(uniform(name.lower(), 16), dense, dense_presets)
        assert resolved.recipe == dense_presets[name].recipe
        output = dense_presets[name].tensor_types["output.weight"]
        assert resolved.notes[0].startswith(f"No type was given for output.weight {output}, token_embd.weight")


def test_a_preset_means_what_it_gives_to_that_layer(dense: ModelFile, dense_presets: PresetTable) -> None:
    rows = tuple((layer, "Q4_K_M" if layer % 2 else "Q3_K_M") for layer in range(16))
    recipe = resolve_layer_types(LayerTypes(rows), dense, dense_presets).recipe
    for layer, name in rows:
        assert layer_of(recipe, layer) == layer_of(dense_presets[name].recipe, layer)
    downs = [recipe.tensor_types[f"blk.{layer}.ffn_down.weight"] for layer in (1, 3, 5, 15)]
    assert downs == ["Q6_K", "Q4_K", "Q4_K", "Q6_K"]


def test_flags_type_embeddings_and_output(dense: ModelFile, dense_presets: PresetTable) -> None:
    own = LayerTypes(uniform("Q4_K_M", 16).rows, (), Flags("Q3_K", "Q5_K", True))
    resolved = resolve_layer_types(own, dense, dense_presets)
    assert resolved.recipe.tensor_types["token_embd.weight"] == "Q3_K"
    assert resolved.recipe.tensor_types["output.weight"] == "Q5_K"
    assert [note for note in resolved.notes if note.startswith("--layer-types-high changes nothing")]
    given_flags = recipe_from_layer_types(own, Flags(output_tensor_type="Q8_0"), dense, dense_presets)
    assert given_flags.tensor_types["output.weight"] == "Q8_0"
    assert given_flags.tensor_types["token_embd.weight"] == "Q3_K"


def test_tied_embeddings_follow_llama_quantizes_precedence(odd: ModelFile, odd_presets: PresetTable) -> None:
    rows = uniform("Q4_K_M", 8)
    for flags, expected in (
        (Flags(None, "Q5_K"), "Q5_K"),
        (Flags("Q4_K", "Q5_K"), "Q4_K"),
        (Flags("Q4_K", None), "Q4_K"),
        (Flags(), "Q6_K"),
    ):
        resolved = resolve_layer_types(rows, odd, odd_presets, flags=flags)
        assert resolved.recipe.tensor_types["token_embd.weight"] == expected
    assert resolve_layer_types(rows, odd, odd_presets, flags=Flags("Q4_K", "Q5_K")).notes == (
        "The embeddings are tied to the output: --token-embedding-type holds for both.",
    )


def test_steampunques_types(dense: ModelFile, dense_presets: PresetTable, experts: ModelFile) -> None:
    recipe = resolve_layer_types(uniform("q4_k_l", 16), dense, dense_presets).recipe
    q4_k_m = dense_presets["Q4_K_M"].recipe
    assert layer_of(recipe, 3) == layer_of(q4_k_m, 3) | {"attn_output": "Q6_K"}
    assert recipe.tensor_types["token_embd.weight"] == q4_k_m.tensor_types["token_embd.weight"]  # not bartowski's file
    q5_k_l = layer_of(resolve_layer_types(uniform("Q5_K_L", 16), dense, dense_presets).recipe, 7)
    assert q5_k_l == dict.fromkeys(q5_k_l, "Q5_K") | {"attn_v": "Q8_0", "attn_output": "Q6_K", "ffn_down": "Q6_K"}
    q6_k_m = layer_of(resolve_layer_types(uniform("Q6_K_M", 16), dense, dense_presets).recipe, 7)
    assert q6_k_m == dict.fromkeys(q6_k_m, "Q6_K") | {"attn_v": "Q8_0", "ffn_down": "Q8_0"}
    assert set(layer_of(resolve_layer_types(uniform("Q6_K_S", 16), dense, dense_presets).recipe, 7).values()) == {
        "Q6_K"
    }


def test_expert_tensors_are_meant_by_patterns(experts: ModelFile, experts_presets: PresetTable) -> None:
    mix = layer_of(resolve_layer_types(uniform("Q6_K_L", 8), experts, experts_presets).recipe, 2)
    assert (mix["ffn_down_exps"], mix["ffn_up_exps"], mix["attn_output"]) == ("Q8_0", "Q6_K", "Q8_0")


def test_row_fallbacks_are_resolved_and_shown(odd: ModelFile, odd_presets: PresetTable) -> None:
    resolved = resolve_layer_types(uniform("Q5_K_658", 8), odd, odd_presets, flags=Flags("Q6_K"))
    assert resolved.recipe.tensor_types["blk.0.ffn_down.weight"] == "Q8_0"
    resolved = resolve_layer_types(uniform("Q5_K_655", 8), odd, odd_presets, flags=Flags("Q6_K"))
    assert resolved.fallbacks == {f"blk.{layer}.ffn_down.weight": ("Q5_K", "Q5_1") for layer in range(8)}


def test_the_strings_own_definitions_come_first(dense: ModelFile, dense_presets: PresetTable) -> None:
    own = uniform("q4_k_l", 16, ("def", "Q4_K_L", "all=q3_k", "attn_v=q6_k", "ffn_*=q4_k"))
    mix = layer_of(resolve_layer_types(own, dense, dense_presets).recipe, 5)
    assert mix == {
        "attn_q": "Q3_K",
        "attn_k": "Q3_K",
        "attn_v": "Q6_K",
        "attn_output": "Q3_K",
        "ffn_gate": "Q4_K",
        "ffn_up": "Q4_K",
        "ffn_down": "Q4_K",
    }


def test_a_users_own_definitions(dense: ModelFile, dense_presets: PresetTable) -> None:
    mine = read_definitions("Mine: {preset: q4_k, attn_k: Q8_0}\n", "mine.yaml")
    recipe = resolve_layer_types(uniform("MINE", 16), dense, dense_presets, definitions=mine).recipe
    assert layer_of(recipe, 0) == layer_of(dense_presets["Q4_K_M"].recipe, 0) | {"attn_k": "Q8_0"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1]", "write each layer type as NAME"),
        ("a: {attn_v: Q6_K}", "needs one start"),
        ("a: {preset: Q4_K_M, all: Q6_K}", "needs one start"),
        ("a: {all: Q4_K_M}", "no tensor type"),
        ("a: {all: [", "no YAML"),
    ],
)
def test_definitions_that_cannot_be_read_are_named(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_definitions(text, "mine.yaml")


@pytest.mark.parametrize(
    ("rows", "meta_rows", "message"),
    [
        ([(layer, "Q4_K_M") for layer in range(16) if layer not in (3, 9)], (), r"lacks layers 3, 9 of tiny.gguf"),
        ([(layer, "Q4_K_M") for layer in range(15)], (), r"lacks layer 15 of"),
        ([(layer, "Q4_K_M") for layer in range(17)], (), r"layer 16 in LAYER_TYPES is beyond the model"),
        ([], (), "names no layer"),
        ([(layer, "Q4_K_N") for layer in range(16)], (), r"layer 0: 'Q4_K_N' is no layer type\. Did you mean Q4_K_"),
        ([(layer, "zzz") for layer in range(16)], (), r"Known: F32, .*VOD names such as Q5_K_658"),
        ([(layer, "Q3_K_XL") for layer in range(16)], (), r"Q3_K_XL is a file's name \(Q3_K_L with Q8_0"),
        ([(layer, "X") for layer in range(16)], (("DEF", "X"),), "needs one start"),
        ([(layer, "X") for layer in range(16)], (("DEF", "X", "attn_v"),), "is no ROLE=TYPE"),
        ([(layer, "X") for layer in range(16)], (("DEF", "X", "preset=Q4_K_X"),), "is no preset"),
        ([(layer, "X") for layer in range(16)], (("DEF", "X", "all=Q4_K", "a=Q4_K", "a=Q6_K"),), "a role twice"),
        ([(layer, "Q4_K_M") for layer in range(16)], (("DEF", "Q4_K_M", "all=Q4_K"),), "is a preset of llama.cpp"),
        ([(layer, "Q4_K_M") for layer in range(16)], (("TENSORS", "nothing=Q4_K"),), "must be TENSOR=TYPE"),
        ([(layer, "Q8_K_444") for layer in range(16)], (), "is no layer type"),
    ],
)
def test_what_does_not_fit_the_model_is_named(
    dense: ModelFile,
    dense_presets: PresetTable,
    rows: list[tuple[int, str]],
    meta_rows: tuple[tuple[str, ...], ...],
    message: str,
) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve_layer_types(LayerTypes(tuple(rows), meta_rows), dense, dense_presets)


def test_disputed_digits_without_a_map_are_noted(dense: ModelFile, dense_presets: PresetTable) -> None:
    flags = Flags("Q4_K", "Q6_K")
    notes = resolve_layer_types(uniform("Q5_K_608", 16), dense, dense_presets, flags=flags).notes
    assert notes[0].startswith("Q5_K_608: without a MAP row 0 is read as the name's own base")
    mapped = uniform("Q5_K_608", 16, ("MAP", "VOD", "0", "QN_K", "6", "Q6_K", "8", "Q8_0"))
    assert not resolve_layer_types(mapped, dense, dense_presets, flags=flags).notes
    assert not resolve_layer_types(uniform("Q5_K_658", 16), dense, dense_presets, flags=flags).notes


@pytest.mark.parametrize("which", ["dense", "odd", "experts"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_recipe_is_named_and_read_back_to_the_same_tensors(
    data: st.DataObject, request: pytest.FixtureRequest, which: str
) -> None:
    model: ModelFile = request.getfixturevalue(which)
    table: PresetTable = request.getfixturevalue(f"{which}_presets")
    few = data.draw(st.lists(st.sampled_from(TARGET_TYPES), min_size=1, max_size=4))
    base = table.presets[data.draw(st.sampled_from(list(table.presets)))].tensor_types
    changed = data.draw(st.dictionaries(st.sampled_from(table.quantizable), st.sampled_from(few)))
    recipe = complete_recipe({**base, **changed}, model, table.quantizable).recipe
    named = layer_types_from_recipe(recipe, model, table)
    assert resolve_layer_types(parse(format_shell(named)), model, table).recipe == recipe
    preferred = layer_types_from_recipe(recipe, model, table, preferred=("Q6_K_L", "Q3_K_S", "Q4_K_444"))
    assert resolve_layer_types(preferred, model, table).recipe == recipe


def test_presets_are_named_where_they_fit_and_mixes_defined_once(dense: ModelFile, dense_presets: PresetTable) -> None:
    types = dict(dense_presets["Q4_K_M"].tensor_types)
    for layer in (3, 5):
        types |= {f"blk.{layer}.attn_q.weight": "IQ4_XS", f"blk.{layer}.ffn_up.weight": "IQ3_S"}
        types |= {f"blk.{layer}.attn_v.weight": "Q4_K", f"blk.{layer}.ffn_down.weight": "Q4_K"}
    types |= {f"blk.7.{role}.weight": "Q5_K" for role in ("attn_q", "attn_k", "attn_v", "attn_output")}
    types |= {f"blk.7.{role}.weight": "Q5_K" for role in ("ffn_up", "ffn_gate")} | {"blk.7.ffn_down.weight": "Q8_0"}
    named = layer_types_from_recipe(Recipe(types), dense, dense_presets)
    names = named.names()
    assert (names[0], names[3], names[5], names[7]) == ("Q4_K_M", "Q4_K_MIX1", "Q4_K_MIX1", "Q5_K_558")
    assert [row[0] for row in named.meta_rows] == ["A", "MAP", "DEF"]
    assert named.meta_rows[2] == ("DEF", "Q4_K_MIX1", "all=Q4_K", "attn_q=IQ4_XS", "ffn_up=IQ3_S")
    assert named.flags == Flags("Q4_K", "Q6_K")


def test_names_mean_the_same_with_and_without_an_imatrix(
    dense: ModelFile, dense_presets: PresetTable, cache: Path
) -> None:
    named = layer_types_from_recipe(dense_presets["IQ4_XS"].recipe, dense, dense_presets)
    with_imatrix = load_presets(dense, imatrix=True, cache_dir=cache)
    assert resolve_layer_types(named, dense, with_imatrix).recipe == dense_presets["IQ4_XS"].recipe


def test_quantizable_tensors_outside_the_layers_are_carried(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "extra.gguf"
    source = ModelFile.open(tiny_model(tmp_path, "llama", n_layer=2))
    tensors = [NewTensor(t.name, t.shape, t.tensor_type) for t in source.tensors]
    tensors += [NewTensor(name, (256, 64), "F16") for name in ("per_layer_token_embd.weight", "other.weight")]
    path.write_bytes(header_bytes(source.output_pairs, tensors))
    model = ModelFile.open(path, planning=True)
    table = load_presets(model, cache_dir=cache)
    types = dict(table["Q4_K_M"].tensor_types) | {"per_layer_token_embd.weight": "Q5_K", "other.weight": "Q3_K"}
    named = layer_types_from_recipe(Recipe(types), model, table)
    assert named.meta_rows == (("TENSORS", "other.weight=Q3_K", "per_layer_token_embd.weight=Q5_K"),)
    assert resolve_layer_types(named, model, table).recipe.tensor_types == types
    both = resolve_layer_types(uniform("Q4_K_M", 2), model, table, flags=Flags("Q8_0")).recipe
    assert both.tensor_types["per_layer_token_embd.weight"] == "Q8_0"


def test_layer_types_are_read_from_files_strings_and_hybrids(tmp_path: Path) -> None:
    rows = ((0, "Q4_K_M"),)
    (tmp_path / "types.json").write_text('[[0,"Q4_K_M"]]')
    (tmp_path / "types.sh").write_text("LAYER_TYPES='[[0,\"Q4_K_M\"]]'")
    for argument in ('[[0,"Q4_K_M"]]', "LAYER_TYPES='[[0,\"Q4_K_M\"]]'", *map(str, tmp_path.iterdir())):
        assert read_layer_types(argument).rows == rows
    hybrid = Path(__file__).parents[2] / "configs" / "hybrids" / "QwQ-32B.Q4_K_H.yaml"
    assert len(read_layer_types(str(hybrid)).rows) == 64
    with pytest.raises(RecipeError, match="cannot be read from there: No such file"):
        read_layer_types(str(tmp_path / "none.json"))
    with pytest.raises(RecipeError, match="cannot be read"):
        read_layer_types("x" * 5000)


def test_recipes_are_read_from_json_and_refused_for_another_model(
    dense: ModelFile, dense_presets: PresetTable, odd: ModelFile, odd_presets: PresetTable, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.json"
    types = {name: given.lower() for name, given in dense_presets["Q3_K_M"].tensor_types.items()}
    for document in (types, {"tensor_types": types, "note": "mine"}):
        path.write_text(json.dumps(document))
        assert read_recipe(path, dense, dense_presets).recipe == dense_presets["Q3_K_M"].recipe
    with pytest.raises(RecipeError, match="no quantizable tensor of this model"):
        read_recipe(path, odd, odd_presets)
    path.write_text(json.dumps({"tensor_types": {"output.weight": "Q6_K"}}))
    with pytest.raises(RecipeError, match="lacks 113 of 114 tensors"):
        read_recipe(path, dense, dense_presets)
    path.write_text(json.dumps(types | {"output.weight": "I32"}))
    with pytest.raises(RecipeError, match="no weight can be quantized to it"):
        read_recipe(path, dense, dense_presets)
    for text, message in (
        ("{", "no JSON"),
        ("[]", "a recipe is a JSON object"),
        ('{"a":1}', "a recipe is a JSON object"),
    ):
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            read_recipe(path, dense, dense_presets)


def test_a_recipe_is_read_from_a_finished_file(dense: ModelFile, dense_presets: PresetTable, tmp_path: Path) -> None:
    recipe = dense_presets["Q5_K_M"].recipe
    block = provenance_pair(recipe.tensor_types, dense_presets.quantizable, {"source": "test"})
    path = tmp_path / "made.gguf"
    path.write_bytes(header_bytes([string_pair("general.architecture", "qwen3"), block], []))
    assert read_recipe(path, dense, dense_presets).recipe == recipe
    path.write_bytes(header_bytes([uint32_pair("a", 1)], []))
    with pytest.raises(RecipeError, match="carries no recipe"):
        read_recipe(path, dense, dense_presets)
