import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import RecipeError
from optimizer.recipes.vod import DEFAULT_DIGITS, DEFAULT_LETTERS, VodMap, read_map

ROLES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
GLM_MAP = ("MAP", "VOD", "0", "QN_K", "2", "Q2_K", "3", "Q3_K", "4", "Q4_K", "5", "Q5_K", "6", "Q6_K", "8", "Q8_0")


def test_digits_stand_for_value_output_and_down() -> None:
    types = VodMap().resolve("q5_k_658", ROLES)
    assert types == dict.fromkeys(ROLES, "Q5_K") | {"attn_v": "Q6_K", "attn_output": "Q5_K", "ffn_down": "Q8_0"}


def test_fused_and_expert_tensors_belong_to_their_letters() -> None:
    roles = ("attn_qkv", "attn_kv_b", "ffn_down_exps", "ffn_down_shexp", "ffn_up_exps", "ssm_out")
    assert VodMap().resolve("Q4_K_658", roles) == {
        "attn_qkv": "Q6_K",
        "attn_kv_b": "Q6_K",
        "ffn_down_exps": "Q8_0",
        "ffn_down_shexp": "Q8_0",
        "ffn_up_exps": "Q4_K",
        "ssm_out": "Q4_K",
    }


@pytest.mark.parametrize("name", ["Q4_K_M", "Q5_K_65", "Q5_K_6588", "Q9_K_658", "IQ2_XXS", "Q4_K_XYZ", "", "658"])
def test_other_names_are_no_vod_names(name: str) -> None:
    assert VodMap().resolve(name, ROLES) is None


def test_the_map_row_decides() -> None:
    older = read_map([(*GLM_MAP[:2], "0", "F32", "f", "F16", "5", "Q5_K")])
    types = older.resolve("Q5_K_0F5", ROLES)
    assert types is not None
    assert (types["attn_v"], types["attn_output"], types["ffn_down"]) == ("F32", "F16", "Q5_K")
    newer = read_map([])
    types = newer.resolve("Q5_K_0f5", ROLES)
    assert types is not None
    assert (types["attn_v"], types["attn_output"], types["ffn_down"]) == ("Q5_K", "F32", "Q5_K")
    with pytest.raises(RecipeError, match="the digit '7' \\(for O\\) stands for nothing"):
        newer.resolve("Q5_K_678", ROLES)


def test_letters_and_their_order_are_the_rows() -> None:
    own = read_map([("X", "attn_k", "D", "ffn_down"), ("MAP", "DX", "4", "q4_k", "6", "q6_k")])
    types = own.resolve("Q4_K_64", ROLES)
    assert types == dict.fromkeys(ROLES, "Q4_K") | {"ffn_down": "Q6_K"}
    assert own.rows() == (("X", "attn_k", "D", "ffn_down"), ("MAP", "DX", "4", "Q4_K", "6", "Q6_K"))
    assert read_map(own.rows()) == own
    assert read_map(VodMap().rows()) == VodMap("VOD", dict(DEFAULT_LETTERS), dict(DEFAULT_DIGITS))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("MAP", "VOD", "4"), "without its partner"),
        (("MAP", "VZD", "4", "Q4_K"), "orders 'VZD'"),
        (("MAP", "VVD", "4", "Q4_K"), "orders 'VVD'"),
        (("MAP", "VOD", "44", "Q4_K"), "single letters and digits"),
        (("MAP", "VOD", "4", "Q4_K_M"), "no tensor type"),
        (("A", "attn", "Q"), "without its partner"),
    ],
)
def test_rows_that_make_no_map_are_named(row: tuple[str, ...], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_map([row])


@given(st.dictionaries(st.sampled_from(ROLES), st.sampled_from(["Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "IQ4_XS"])))
def test_a_name_that_is_found_means_the_types_it_was_found_for(types: dict[str, str]) -> None:
    name = VodMap().name_of(types)
    if name is not None:
        assert VodMap().resolve(name, tuple(types)) == types


@given(
    base=st.sampled_from(["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0"]),
    digits=st.text("234568", min_size=3, max_size=3),
)
def test_every_vod_name_is_found_again(base: str, digits: str) -> None:
    types = VodMap().resolve(f"{base}_{digits}", ROLES)
    assert types is not None
    assert VodMap().name_of(types) == f"{base}_{digits}"
