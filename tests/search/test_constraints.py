from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.config import SearchConfig
from optimizer.errors import ConfigError
from optimizer.gguf.tensor_types import TARGET_TYPES, tensor_type
from optimizer.search.constraints import (
    bounded_tensors,
    broken_bound,
    constraints_from_flags,
    parse_bound,
    pinned_tensors,
)

TENSORS = ["token_embd.weight", *(f"blk.{i}.{role}.weight" for i in range(12) for role in ("attn_v", "ffn_down"))]
TYPES = st.sampled_from(TARGET_TYPES)


@given(TYPES, TYPES, TYPES)
def test_a_range_is_both_of_its_ends(low: str, high: str, candidate: str) -> None:
    low, high = sorted((low, high), key=lambda name: tensor_type(name).bits_per_weight)
    inside = parse_bound("x", f"{low}..{high}").admits(candidate)
    assert inside == (
        parse_bound("x", f">={low}").admits(candidate) and parse_bound("x", f"<={high}").admits(candidate)
    )
    assert parse_bound("x", f"{low}..{high}").admits(low)
    assert parse_bound("x", f"{low}..{high}").admits(high)


def test_bounds_order_types_by_bits_per_weight() -> None:
    assert [t for t in ("Q4_K", "Q5_K", "Q6_K", "Q8_0") if parse_bound("x", ">=q5_k").admits(t)] == [
        "Q5_K",
        "Q6_K",
        "Q8_0",
    ]
    assert parse_bound("x", "<=Q4_K").admits("IQ4_XS")
    assert not parse_bound("x", "<=IQ4_XS").admits("Q4_K")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Q4_K", "is no range"),
        (">=Q9_K", "no tensor type"),
        ("Q8_0..Q4_K", "smaller first"),
        ("", "is no range"),
        ("Q4_K..", "no tensor type"),
    ],
)
def test_a_bound_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_bound("attn_v", text)


def test_a_pattern_is_searched_anywhere() -> None:
    pinned = pinned_tensors({r"^blk\.1\.": "q6_k", "embd": "Q8_0"}, TENSORS)
    assert pinned == {"blk.1.attn_v.weight": "Q6_K", "blk.1.ffn_down.weight": "Q6_K", "token_embd.weight": "Q8_0"}


def test_two_patterns_may_agree_but_not_contradict() -> None:
    assert pinned_tensors({"attn_v": "Q6_K", r"blk\.0\.attn": "Q6_K"}, TENSORS)["blk.0.attn_v.weight"] == "Q6_K"
    with pytest.raises(
        ConfigError, match=r"blk\.0\.attn_v\.weight is pinned twice: to Q6_K by 'attn_v' and to Q4_K by"
    ):
        pinned_tensors({"attn_v": "Q6_K", r"^blk\.0\.": "Q4_K"}, TENSORS)


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"attn_q": "Q6_K"}, "matches no quantizable tensor"),
        ({"attn_v": "Q9_K"}, "no tensor type"),
        ({"attn_v": "Q8_1"}, "does not quantize"),
        ({"ffn_(": "Q6_K"}, "no regular expression"),
    ],
)
def test_pins_that_cannot_hold(pins: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        pinned_tensors(pins, TENSORS)


def test_every_bound_of_a_tensor_holds() -> None:
    bounded = bounded_tensors({"attn_v": ">=Q4_K", r"blk\.0\.": "<=Q5_K"}, TENSORS)
    assert broken_bound({"blk.0.attn_v.weight": "Q5_K"}, bounded) is None
    broken = broken_bound({"blk.1.attn_v.weight": "Q6_K", "blk.0.attn_v.weight": "Q6_K"}, bounded)
    assert broken is not None
    assert broken[0] == "blk.0.attn_v.weight"
    assert broken[1].text == "<=Q5_K"
    with pytest.raises(ConfigError, match="matches no quantizable tensor"):
        bounded_tensors({"attn_q": ">=Q4_K"}, TENSORS)


def test_flags() -> None:
    read = constraints_from_flags(["^token_embd=Q6_K", "a=b=Q4_K"], ["attn_v=>=Q5_K", "ffn=Q4_K..Q8_0", "x=y=<=Q6_K"])
    assert read["pins"] == {"^token_embd": "Q6_K", "a=b": "Q4_K"}
    assert read["bounds"] == {"attn_v": ">=Q5_K", "ffn": "Q4_K..Q8_0", "x=y": "<=Q6_K"}
    assert constraints_from_flags([], []) == {}
    for pins, bounds in ((["Q6_K"], []), ([], ["attn_v=Q5_K"]), ([], ["attn_v"]), (["a=Q4_K", "a=Q5_K"], [])):
        with pytest.raises(ConfigError, match=r"--(pin|bound)"):
            constraints_from_flags(pins, bounds)


def test_flags_add_to_the_settings_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: m.gguf\npins: {a: Q4_K, b: Q5_K}\nbounds: {c: '>=Q4_K'}\n")
    config = SearchConfig.load(tmp_path / "a.yaml", constraints_from_flags(["b=Q6_K"], ["d=<=Q8_0"]))
    assert config.pins == {"a": "Q4_K", "b": "Q6_K"}
    assert config.bounds == {"c": ">=Q4_K", "d": "<=Q8_0"}
    other = SearchConfig.load(tmp_path / "a.yaml", {})
    assert [difference.split(":")[0] for difference in other.differences(config)] == ["bounds", "pins"]
