"""Every kind of model that the road is driven with: dense, fused, experts, hybrids, odd rows, other sources."""

from collections.abc import Mapping

from tests.architectures.kind import (
    EXPERT_FFN,
    EXPERT_KEYS,
    EXPERTS,
    FFN,
    HEAD,
    HEADS,
    KV_HEADS,
    KV_WIDTH,
    VOCABULARY,
    WIDTH,
    Block,
    Kind,
    attention,
    dense,
    experts,
    make_kind,
)

NORM = {"output_norm.weight": (WIDTH,)}


def qwen2(name: str, *, tied: bool = False, tensor_type: str = "F16") -> Kind:
    """Biases of query, key and value."""
    block = {**attention(bias=True), **dense()}
    return make_kind(name, "qwen2", [block] * 2, tied=tied, tensor_type=tensor_type)


def qwen3(name: str, *, ffn: int = FFN, tied: bool = False, splits: int = 1) -> Kind:
    """Norms of query and key."""
    block = {**attention(normed=True), **dense(ffn)}
    return make_kind(name, "qwen3", [block] * 2, {"feed_forward_length": ffn}, tied=tied, splits=splits)


def llama(name: str, *, tied: bool = False, tensor_type: str = "F16") -> Kind:
    """With the frequency factors of Llama 3.1."""
    outside = {"rope_freqs.weight": (HEAD // 2,), **NORM}
    block = {**attention(), **dense()}
    return make_kind(name, "llama", [block] * 2, outside=outside, tied=tied, tensor_type=tensor_type)


def gemma3() -> Kind:
    """Sliding windows in all layers but each sixth, norms behind attention and feed-forward."""
    block = {
        **attention(normed=True),
        **dense(),
        "post_attention_norm.weight": (WIDTH,),
        "post_ffw_norm.weight": (WIDTH,),
    }
    return make_kind("gemma3", "gemma3", [block] * 6, {"attention.sliding_window": 32}, tied=True)


def phi3() -> Kind:
    """Query, key and value in one matrix, gate and up in another; factors for long and short contexts.

    Not named phi3: llama.cpp asks a vocabulary for special tokens where the name says so.
    """
    block = {
        "attn_norm.weight": (WIDTH,),
        "attn_qkv.weight": (WIDTH, HEADS * HEAD + 2 * KV_WIDTH),
        "attn_output.weight": (HEADS * HEAD, WIDTH),
        "ffn_norm.weight": (WIDTH,),
        "ffn_up.weight": (WIDTH, 2 * FFN),
        "ffn_down.weight": (FFN, WIDTH),
    }
    outside = {"rope_factors_long.weight": (HEAD // 2,), "rope_factors_short.weight": (HEAD // 2,), **NORM}
    return make_kind("fused", "phi3", [block] * 2, {"rope.scaling.original_context_length": 1024}, outside=outside)


def qwen3moe() -> Kind:
    block = {**attention(normed=True), "ffn_norm.weight": (WIDTH,), **experts()}
    return make_kind("qwen3moe", "qwen3moe", [block] * 2, EXPERT_KEYS)


def glm4moe() -> Kind:
    """A dense layer, a layer of experts with a shared one, and a block that predicts one token more (NextN)."""
    norms = {"post_attention_norm.weight": (WIDTH,)}
    attended = {**attention(bias=True, normed=True), **norms}
    first = {**attended, **dense()}
    del first["ffn_norm.weight"]
    routed = {**attended, **experts(shared=True), "exp_probs_b.bias": (EXPERTS,)}
    nextn = {
        **routed,
        "nextn.eh_proj.weight": (2 * WIDTH, WIDTH),
        "nextn.enorm.weight": (WIDTH,),
        "nextn.hnorm.weight": (WIDTH,),
        "nextn.embed_tokens.weight": (WIDTH, VOCABULARY),
        "nextn.shared_head_head.weight": (WIDTH, VOCABULARY),
        "nextn.shared_head_norm.weight": (WIDTH,),
    }
    keys = {**EXPERT_KEYS, "expert_shared_count": 1, "leading_dense_block_count": 1, "nextn_predict_layers": 1}
    return make_kind("glm4moe", "glm4moe", [first, routed, nextn], keys)


def gpt_oss() -> Kind:
    """Experts as the model was published, in MXFP4; biases everywhere, attention sinks."""
    block = {
        **attention(bias=True),
        "attn_output.bias": (WIDTH,),
        "attn_sinks.weight": (HEADS,),
        "post_attention_norm.weight": (WIDTH,),
        **experts(),
        "ffn_gate_inp.bias": (EXPERTS,),
        "ffn_gate_exps.bias": (EXPERT_FFN, EXPERTS),
        "ffn_up_exps.bias": (EXPERT_FFN, EXPERTS),
        "ffn_down_exps.bias": (WIDTH, EXPERTS),
    }
    kind = make_kind("gpt-oss", "gpt-oss", [block] * 2, {**EXPERT_KEYS, "attention.sliding_window": 32})
    return kind.retyped("gpt-oss", {"_exps.weight": "MXFP4"})


def qwen3next() -> Kind:
    """A gated delta net, then full attention with gated queries; experts with a shared one in both."""
    state, key_heads, value_heads = 64, 2, 4
    inner = state * value_heads
    mixed = 2 * state * key_heads + inner
    common: Block = {
        "attn_norm.weight": (WIDTH,),
        "post_attention_norm.weight": (WIDTH,),
        **experts(shared=True),
        "ffn_gate_inp_shexp.weight": (WIDTH,),
    }
    linear = {
        **common,
        "attn_qkv.weight": (WIDTH, mixed),
        "attn_gate.weight": (WIDTH, inner),
        "ssm_conv1d.weight": (4, mixed),
        "ssm_dt.bias": (value_heads,),
        "ssm_a": (value_heads,),
        "ssm_ba.weight": (WIDTH, 2 * value_heads),
        "ssm_norm.weight": (state,),
        "ssm_out.weight": (inner, WIDTH),
    }
    keys = {
        **EXPERT_KEYS,
        "expert_shared_feed_forward_length": EXPERT_FFN,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": value_heads,
        "ssm.group_count": key_heads,
        "full_attention_interval": 2,
    }
    full = {**attention(2 * HEADS * HEAD, normed=True), **common}
    return make_kind("qwen3next", "qwen3next", [linear, full], keys)


def falcon_h1() -> Kind:
    """Mamba 2 beside attention in every layer; a norm whose name has no suffix."""
    inner, state, groups, heads = WIDTH, 32, 1, 4
    mixed = inner + 2 * groups * state
    block = {
        **attention(),
        **dense(),
        "ffn_norm": (WIDTH,),
        "ssm_in.weight": (WIDTH, inner + mixed + heads),
        "ssm_conv1d.weight": (4, mixed),
        "ssm_conv1d.bias": (mixed,),
        "ssm_dt.bias": (heads,),
        "ssm_a": (1, heads),
        "ssm_d": (1, heads),
        "ssm_norm.weight": (inner // groups, groups),
        "ssm_out.weight": (inner, WIDTH),
    }
    del block["ffn_norm.weight"]
    keys = {
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": heads,
        "ssm.group_count": groups,
    }
    return make_kind("falcon-h1", "falcon-h1", [block] * 2, keys)


def lfm2() -> Kind:
    """Short convolutions; attention in some layers only, told by an array of head counts."""
    convolution = {
        "attn_norm.weight": (WIDTH,),
        "shortconv.conv.weight": (3, WIDTH),
        "shortconv.in_proj.weight": (WIDTH, 3 * WIDTH),
        "shortconv.out_proj.weight": (WIDTH, WIDTH),
        **dense(),
    }
    full = {**attention(normed=True), **dense()}
    keys = {"shortconv.l_cache": 3, "attention.head_count_kv": [0, KV_HEADS, 0]}
    outside = {"token_embd_norm.weight": (WIDTH,)}
    return make_kind("lfm2", "lfm2", [convolution, full, convolution], keys, outside=outside, tied=True)


_ALL = (
    qwen2("qwen2"),
    qwen2("qwen2-tied-f32", tied=True, tensor_type="F32"),
    qwen3("qwen3-splits", splits=3),
    llama("llama"),
    llama("llama-tied-bf16", tied=True, tensor_type="BF16"),
    gemma3(),
    phi3(),
    qwen3moe(),
    glm4moe(),
    gpt_oss(),
    qwen3next(),
    falcon_h1(),
    lfm2(),
    qwen3("rows-of-288", ffn=288, tied=True),
    qwen3("rows-of-300", ffn=300),
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _ALL}
