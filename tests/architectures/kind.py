"""One tiny model of a kind: its metadata and tensors, as llama.cpp's converter would name them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from optimizer.gguf.metadata import KeyValue, ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.write import NewTensor
from tests.models import MERGES, tokenizer_pairs, vocabulary, write_model

WIDTH, FFN, HEADS, KV_HEADS, HEAD = 256, 512, 4, 2, 64
KV_WIDTH = KV_HEADS * HEAD
EXPERTS, EXPERT_FFN = 4, 256
VOCABULARY = len(vocabulary())

Block = Mapping[str, tuple[int, ...]]
"""Tensors of a layer by their names behind `blk.N.`; row length first."""

KEPT = (".bias", "ffn_gate_inp.weight", "ssm_conv1d.weight", "shortconv.conv.weight", "norm.weight", "ssm_a", "ssm_d")
"""Beside vectors, what a converter writes as F32 whatever the file's type."""


@dataclass(frozen=True)
class Kind:
    name: str
    architecture: str
    pairs: tuple[KeyValue, ...]
    tensors: tuple[NewTensor, ...]
    splits: int = 1

    def write(self, folder: Path) -> Path:
        return write_model(folder, self.name, [*self.pairs, *tokenizer_pairs(vocabulary(), MERGES)], self.tensors,
                           splits=self.splits)  # fmt: skip

    def retyped(self, name: str, changes: Mapping[str, str]) -> "Kind":
        """The same under another name, tensors whose name holds a key of `changes` being of that type."""
        tensors = tuple(
            replace(tensor, tensor_type=next((new for part, new in changes.items() if part in tensor.name), None)
                    or tensor.tensor_type)
            for tensor in self.tensors
        )  # fmt: skip
        return replace(self, name=name, tensors=tensors)


def make_kind(
    name: str,
    architecture: str,
    blocks: Sequence[Block],
    keys: Mapping[str, int | float | bool | Sequence[int] | Sequence[bool]] | None = None,
    *,
    outside: Mapping[str, tuple[int, ...]] | None = None,
    tied: bool = False,
    tensor_type: str = "F16",
    splits: int = 1,
) -> Kind:
    """`keys` add to the common hyperparameters of the architecture, or replace them."""
    shapes = {"token_embd.weight": (WIDTH, VOCABULARY), **(outside or {"output_norm.weight": (WIDTH,)})}
    for layer, block in enumerate(blocks):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    if not tied:
        shapes["output.weight"] = (WIDTH, VOCABULARY)
    common = {
        "context_length": 2048,
        "embedding_length": WIDTH,
        "block_count": len(blocks),
        "feed_forward_length": FFN,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "rope.dimension_count": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-6,
        "rope.freq_base": 10000.0,
    } | (keys or {})
    pairs = (
        string_pair("general.architecture", architecture),
        string_pair("general.type", "model"),
        string_pair("general.name", name),
        *(_pair(f"{architecture}.{key}", value) for key, value in common.items()),
        uint32_pair("general.file_type", 1),
        uint32_pair("general.quantization_version", 2),
    )
    tensors = tuple(
        NewTensor(each, shape, "F32" if len(shape) == 1 or each.endswith(KEPT) else tensor_type)
        for each, shape in shapes.items()
    )
    return Kind(name, architecture, pairs, tensors, splits)


def attention(width: int = HEADS * HEAD, *, bias: bool = False, normed: bool = False) -> Block:
    """Grouped-query attention; `normed`: query and key norms."""
    block: dict[str, tuple[int, ...]] = {
        "attn_norm.weight": (WIDTH,),
        "attn_q.weight": (WIDTH, width),
        "attn_k.weight": (WIDTH, KV_WIDTH),
        "attn_v.weight": (WIDTH, KV_WIDTH),
        "attn_output.weight": (HEADS * HEAD, WIDTH),
    }
    if bias:
        block |= {"attn_q.bias": (width,), "attn_k.bias": (KV_WIDTH,), "attn_v.bias": (KV_WIDTH,)}
    if normed:
        block |= {"attn_q_norm.weight": (HEAD,), "attn_k_norm.weight": (HEAD,)}
    return block


def dense(ffn: int = FFN) -> Block:
    return {
        "ffn_norm.weight": (WIDTH,),
        "ffn_gate.weight": (WIDTH, ffn),
        "ffn_up.weight": (WIDTH, ffn),
        "ffn_down.weight": (ffn, WIDTH),
    }


def experts(*, shared: bool = False) -> Block:
    """A router and its experts as 3-D tensors; `shared`: one more for every token."""
    block: dict[str, tuple[int, ...]] = {
        "ffn_gate_inp.weight": (WIDTH, EXPERTS),
        "ffn_gate_exps.weight": (WIDTH, EXPERT_FFN, EXPERTS),
        "ffn_up_exps.weight": (WIDTH, EXPERT_FFN, EXPERTS),
        "ffn_down_exps.weight": (EXPERT_FFN, WIDTH, EXPERTS),
    }
    if shared:
        block |= {
            "ffn_gate_shexp.weight": (WIDTH, EXPERT_FFN),
            "ffn_up_shexp.weight": (WIDTH, EXPERT_FFN),
            "ffn_down_shexp.weight": (EXPERT_FFN, WIDTH),
        }
    return block


EXPERT_KEYS = {"expert_count": EXPERTS, "expert_used_count": 2, "expert_feed_forward_length": EXPERT_FFN}


def _pair(key: str, value: int | float | bool | Sequence[int] | Sequence[bool]) -> KeyValue:
    first = value[0] if isinstance(value, Sequence) else value
    if isinstance(first, bool):
        return encode_pair(key, ValueType.BOOL, value)
    if isinstance(first, float):
        return encode_pair(key, ValueType.FLOAT32, value)
    return encode_pair(key, ValueType.UINT32, value)
