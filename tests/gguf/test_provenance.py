import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import GgufError
from optimizer.gguf.provenance import block_length, build_block, placeholder_pair, provenance_pair, read_block
from optimizer.gguf.tensor_types import TARGET_TYPES

NAMES = [f"blk.{layer}.{role}.weight" for layer in range(64) for role in ("attn_v", "ffn_down", "ffn_up")]


@given(
    types=st.lists(st.sampled_from(TARGET_TYPES), min_size=1, max_size=len(NAMES)),
    fields=st.dictionaries(st.text(max_size=10), st.text(max_size=600) | st.floats(allow_nan=False), max_size=6),
)
def test_the_block_is_of_fixed_length_and_gives_the_recipe_back(types: list[str], fields: dict[str, object]) -> None:
    fields = {key: value for key, value in fields.items() if key not in ("types", "tensors")}
    names = NAMES[: len(types)]
    recipe = dict(zip(names, types, strict=True))
    pair = provenance_pair(recipe, names, fields)
    assert len(pair.raw) == len(placeholder_pair(len(names)).raw)
    text = build_block(recipe, names, fields)
    assert len(text.encode()) == block_length(len(names))
    read, rest = read_block(text, names)
    assert read == recipe
    assert rest.items() <= fields.items()


def test_optional_fields_go_first_and_small_ones_stay() -> None:
    recipe = dict.fromkeys(NAMES, "Q4_K")
    fields = {"layer_types": "x" * 2000, "fingerprint": "f" * 64, "mean_kld": 0.031}
    _, rest = read_block(build_block(recipe, NAMES, fields), NAMES)
    assert rest == {"fingerprint": "f" * 64, "mean_kld": 0.031}


def test_every_type_at_once_still_fits() -> None:
    names = [f"blk.{number}.weight" for number in range(len(TARGET_TYPES))]
    recipe = dict(zip(names, TARGET_TYPES, strict=True))
    assert read_block(build_block(recipe, names, {}), names)[0] == recipe


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"types": {}, "tensors": "a"}), json.dumps({"types": 1})])
def test_a_block_of_another_make_is_refused(text: str) -> None:
    with pytest.raises(GgufError, match="changed by another program"):
        read_block(text, NAMES)


def test_a_block_of_another_model_is_refused() -> None:
    text = build_block(dict.fromkeys(NAMES, "Q4_K"), NAMES, {})
    with pytest.raises(GgufError, match="made from another model"):
        read_block(text, NAMES[:-1])
