import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.gguf.tensor_types import TARGET_TYPES, fits_row
from optimizer.recipes import Recipe
from optimizer.recipes.fallback import fallback_type
from optimizer.recipes.roles import layers_of, match_role, outside_layers, role_of

types = st.dictionaries(st.text(min_size=1), st.sampled_from(TARGET_TYPES))


@given(types, st.randoms())
def test_equal_recipes_have_equal_keys_whatever_their_order(given_types: dict[str, str], random: object) -> None:
    items = list(given_types.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    first, second = Recipe(given_types), Recipe(dict(items))
    assert first == second
    assert first.key == second.key
    assert len({first, second}) == 1
    assert pickle.loads(pickle.dumps(first)) == first


def test_a_recipe_cannot_be_changed() -> None:
    source = {"a": "Q4_K"}
    recipe = Recipe(source)
    source["a"] = "Q6_K"
    assert recipe.tensor_types["a"] == "Q4_K"
    with pytest.raises(TypeError):
        recipe.tensor_types["a"] = "Q6_K"  # type: ignore[index]
    assert recipe.replace({"a": "Q6_K"}).key != recipe.key
    with pytest.raises(KeyError):
        recipe.replace({"b": "Q6_K"})
    assert recipe != "a recipe"


@given(st.sampled_from(TARGET_TYPES), st.integers(1, 40000))
def test_a_fallback_fits_the_row_and_needs_no_other(wanted: str, row_length: int) -> None:
    given_type = fallback_type(wanted, row_length)
    assert fits_row(given_type, row_length)
    assert fallback_type(given_type, row_length) == given_type
    assert (given_type == wanted) == fits_row(wanted, row_length)


def test_roles_and_layers() -> None:
    names = ["output.weight", "blk.0.attn_v.weight", "blk.11.ffn_down_exps.weight", "blk.12.nextn.eh_proj.weight"]
    assert [role_of(name) for name in names] == ["output", "attn_v", "ffn_down_exps", "nextn.eh_proj"]
    layers = layers_of(names, 12)
    assert layers[11] == {"ffn_down_exps": "blk.11.ffn_down_exps.weight"}
    assert layers[5] == {}
    assert outside_layers(names, 12) == ("output.weight", "blk.12.nextn.eh_proj.weight")
    keys = {"ffn_*": "Q4_K", "ffn_down*": "Q5_K", "ffn_down": "Q6_K"}
    assert [match_role(role, keys) for role in ("ffn_down", "ffn_down_exps", "attn_v")] == ["Q6_K", "Q4_K", None]
