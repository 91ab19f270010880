"""Names as llama.cpp's converters write them, by architecture."""

import pytest

from optimizer.search.units import group_tensors, layer_of, role_of, unit_of

DENSE = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
LAYERS = {
    "llama": (DENSE, {"attn_qk": 2, "attn_v": 1, "attn_output": 1, "ffn_gate_up": 2, "ffn_down": 1}),
    "phi3, fused": (
        ["attn_qkv", "attn_output", "ffn_up", "ffn_down"],
        {"attn_qkv": 1, "attn_output": 1, "ffn_gate_up": 1, "ffn_down": 1},
    ),
    "qwen3moe": (
        ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"],
        {"attn_qk": 2, "attn_v": 1, "attn_output": 1, "ffn_gate_up_exps": 2, "ffn_down_exps": 1},
    ),
    "fused experts": (["ffn_gate_up_exps", "ffn_down_exps"], {"ffn_gate_up_exps": 1, "ffn_down_exps": 1}),
    "deepseek2": (
        ["attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "attn_output"]
        + [f"ffn_{part}_{kind}" for kind in ("exps", "shexp") for part in ("gate", "up", "down")],
        {
            **dict.fromkeys(["attn_q_a", "attn_q_b", "attn_kv_a_mqa", "attn_k_b", "attn_v_b", "attn_output"], 1),
            "ffn_gate_up_exps": 2,
            "ffn_down_exps": 1,
            "ffn_gate_up_shexp": 2,
            "ffn_down_shexp": 1,
        },
    ),
    "mamba2": (["ssm_in", "ssm_out"], {"ssm": 2}),
    "qwen3next, linear attention": (
        ["attn_qkv", "attn_gate", "ssm_ba", "ssm_out", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"],
        {"attn_qkv": 1, "attn_gate": 1, "ssm": 2, "ffn_gate_up_shexp": 2, "ffn_down_shexp": 1},
    ),
    "glm4moe, next-token block": (
        ["attn_v", "nextn.eh_proj", "nextn.embed_tokens", "nextn.shared_head_head"],
        {"attn_v": 1, "nextn": 3},
    ),
    "lfm2": (["shortconv.in_proj", "shortconv.out_proj"], {"shortconv.in_proj": 1, "shortconv.out_proj": 1}),
}


@pytest.mark.parametrize("architecture", LAYERS)
def test_groups_of_a_layer(architecture: str) -> None:
    roles, expected = LAYERS[architecture]
    tensors = [f"blk.17.{role}.weight" for role in roles]
    groups = group_tensors(tensors, "groups")
    assert {name: len(members) for name, members in groups.items()} == {f"blk.17.{k}": n for k, n in expected.items()}
    assert group_tensors(tensors, "layers") == {"blk.17": tuple(tensors)}
    assert group_tensors(tensors, "tensors") == {name.removesuffix(".weight"): (name,) for name in tensors}


@pytest.mark.parametrize("kind", ["layers", "groups", "tensors"])
def test_what_lies_outside_the_blocks_is_alone(kind: str) -> None:
    outside = ["token_embd.weight", "output.weight", "per_layer_token_embd.weight", "enc.blk.0.attn_q.weight"]
    units = group_tensors([*outside, "blk.0.attn_q.weight"], kind)
    for tensor in outside:
        assert units[tensor.removesuffix(".weight")] == (tensor,)
        assert layer_of(tensor) is None
    assert len(units) == 5


def test_a_tied_model_has_no_output_unit() -> None:
    assert list(group_tensors(["token_embd.weight", "blk.0.attn_v.weight"], "layers")) == ["token_embd", "blk.0"]


def test_layers_of_two_digits_keep_apart() -> None:
    assert unit_of("blk.1.attn_q.weight", "groups") != unit_of("blk.11.attn_q.weight", "groups")
    assert (layer_of("blk.120.ffn_down.weight"), role_of("blk.120.ffn_down.weight")) == (120, "ffn_down")


def test_a_thousand_tensors_are_each_in_one_group() -> None:
    tensors = [f"blk.{layer}.{role}.weight" for layer in range(160) for role in DENSE]
    groups = group_tensors(tensors, "groups")
    assert sorted(t for members in groups.values() for t in members) == sorted(tensors)
    assert len(groups) == 160 * 5
