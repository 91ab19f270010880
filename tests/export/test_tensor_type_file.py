"""The text of --tensor-type-file, and that llama.cpp makes exactly the recipe's tensors from it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer import llama
from optimizer.errors import RecipeError
from optimizer.export.tensor_type_file import (
    name_pattern,
    read_tensor_type_file,
    tensor_type_file,
    types_by_pattern,
)
from optimizer.gguf import TENSOR_TYPES, ModelFile
from optimizer.quantization import quantize
from optimizer.recipes.recipe import Recipe
from tests.export.conftest import Subject, contents, mixed_recipe, subject
from tests.models import header_only

SPECIAL_NAMES = ["blk.1.attn_v.weight", "blk.11.attn_v.weight", "blk.1.attn_v.weight2", "xblk.1.attn_v.weight"]
LETTERS = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="=", exclude_categories=["Lu"])
TENSOR_NAMES = st.lists(st.text(LETTERS, min_size=1), min_size=2, max_size=6, unique=True)


def test_a_pattern_finds_its_own_tensor_only() -> None:
    assert name_pattern("blk.1.attn_v.weight") == r"^blk\.1\.attn_v\.weight$"
    pairs = [(name_pattern("blk.1.attn_v.weight"), "Q4_K")]
    assert types_by_pattern(pairs, [*SPECIAL_NAMES, "blk-1.attn_v.weight"]) == {"blk.1.attn_v.weight": "Q4_K"}


@given(TENSOR_NAMES)
def test_names_of_any_letters_are_told_apart(names: list[str]) -> None:
    kinds = dict(zip(names, ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"], strict=False))
    text = "\n".join(f"{name_pattern(name)}={TENSOR_TYPES[kind].ggml_name}" for name, kind in kinds.items())
    assert types_by_pattern(read_tensor_type_file(text), names) == kinds


def test_capitals_survive_the_lower_case_of_llama_quantize() -> None:
    (pair,) = read_tensor_type_file(f"{name_pattern('blk.0.Attn Q=1')}=q4_K")
    assert types_by_pattern([pair], ["blk.0.Attn Q=1", "blk.0.attn_q"]) == {"blk.0.Attn Q=1": "Q4_K"}


def test_every_quantizable_tensor_is_named_with_a_type_llama_cpp_knows(dense: Subject) -> None:
    recipe = mixed_recipe(dense, ["Q3_K", "Q6_K", "IQ4_XS", "F16"])
    text = tensor_type_file(recipe, dense.model)
    lines = text.splitlines()
    assert len(lines) == len(dense.presets.quantizable)
    assert all(re.fullmatch(r"\^[^=\s]+\$=[a-zA-Z0-9_]+", line) for line in lines)
    assert not re.search(r"\\[A-Za-z]", text), "a class such as \\D would change its meaning in lower case"
    assert types_by_pattern(read_tensor_type_file(text), dense.model.by_name) == recipe.tensor_types


@pytest.mark.parametrize("base", ["Q4_K_M", "IQ4_XS", "Q8_0"])
def test_llama_cpp_makes_our_tensors_from_the_file(dense: Subject, tmp_path: Path, base: str) -> None:
    recipe = mixed_recipe(dense, ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ3_S", "IQ4_XS", "F16"], seed=3)
    quantize(dense.model, recipe, dense.presets.quantizable, tmp_path / "ours.gguf")
    pairs = read_tensor_type_file(tensor_type_file(recipe, dense.model))
    llama.quantize_file(dense.path, tmp_path / "theirs.gguf", base, tensor_types=dict(pairs), threads=2)
    assert contents(tmp_path / "theirs.gguf") == contents(tmp_path / "ours.gguf")


def test_natively_quantized_tensors_are_named_as_they_are(tmp_path: Path) -> None:
    native = subject(tmp_path, tensor_type="MXFP4", n_layer=1)
    assert native.presets.quantizable == ()
    text = tensor_type_file(Recipe({}), native.model)
    assert set(types_by_pattern(read_tensor_type_file(text), native.model.by_name).values()) == {"MXFP4"}


def test_names_that_differ_in_capitals_only_are_refused(dense: Subject) -> None:
    model = replace(
        dense.model, tensors=tuple(replace(dense.model.tensors[0], name=f"blk.0.{letter}.weight") for letter in "Aa")
    )
    recipe = Recipe({"blk.0.A.weight": "Q4_K", "blk.0.a.weight": "Q6_K"})
    with pytest.raises(RecipeError, match="--as gguf"):
        tensor_type_file(recipe, model)
    same = Recipe({"blk.0.A.weight": "Q4_K", "blk.0.a.weight": "Q4_K"})
    assert tensor_type_file(same, model).count("\n") == 2


@pytest.mark.parametrize("word", ["attn_v", "=q4_K", "attn_v=", "attn_v=q4_k_m", "attn_v=banana"])
def test_words_that_llama_quantize_would_refuse(word: str) -> None:
    with pytest.raises(RecipeError, match="PATTERN=TYPE"):
        read_tensor_type_file(f"{word}\n")


def test_the_first_pattern_wins() -> None:
    pairs = read_tensor_type_file("attn=Q4_K  ATTN_V=q6_k")
    assert types_by_pattern(pairs, ["blk.0.attn_v.weight", "output.weight"]) == {"blk.0.attn_v.weight": "Q4_K"}


def test_a_model_of_a_thousand_tensors(tmp_path: Path) -> None:
    model = ModelFile.open(header_only(tmp_path, "qwq-32b", n_vocab=2000), planning=True)
    names = [tensor.name for tensor in model.tensors if len(tensor.shape) > 1]
    recipe = Recipe({name: "Q4_K" if number % 2 else "Q6_K" for number, name in enumerate(names)})
    pairs = read_tensor_type_file(tensor_type_file(recipe, model))
    assert types_by_pattern(pairs, names) == recipe.tensor_types
