"""Small models for tests: random weights that llama.cpp loads, and headers with the shapes of real models."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from optimizer.gguf.metadata import KeyValue, ValueType, encode_pair, string_pair, uint32_pair
from optimizer.gguf.splits import split_path
from optimizer.gguf.write import NewTensor, header_bytes, write_gguf

MERGES = ("t h", "th e", "Ġ the", "i n", "a n", "an d", "Ġ and", "o u", "e r", "Ġ o")


@dataclass(frozen=True)
class Shapes:
    """What the header of a transformer is made of."""

    architecture: str
    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    tied: bool = False
    bias: bool = False
    experts: int = 0
    extra: Sequence[KeyValue] = field(default_factory=tuple)

    @property
    def head_size(self) -> int:
        return self.n_embd // self.n_head

    def tensors(self, tensor_type: str) -> list[NewTensor]:
        """In the order of a converter: embeddings, layers, norm, output."""
        width, kv_width = self.n_embd, self.head_size * self.n_head_kv
        tensors = [NewTensor("token_embd.weight", (width, self.n_vocab), tensor_type)]
        for layer in range(self.n_layer):
            block = {
                "attn_norm": (width,),
                "attn_q": (width, width),
                "attn_k": (width, kv_width),
                "attn_v": (width, kv_width),
                "attn_output": (width, width),
                "ffn_norm": (width,),
            }
            if self.architecture.startswith("qwen3") or self.architecture == "gemma3":
                block |= {"attn_q_norm": (self.head_size,), "attn_k_norm": (self.head_size,)}
            if self.architecture == "gemma3":
                block |= {"post_attention_norm": (width,), "post_ffw_norm": (width,)}
            if self.experts:
                block |= {
                    "ffn_gate_inp": (width, self.experts),
                    "ffn_gate_exps": (width, self.n_ff, self.experts),
                    "ffn_up_exps": (width, self.n_ff, self.experts),
                    "ffn_down_exps": (self.n_ff, width, self.experts),
                }
            else:
                block |= {"ffn_gate": (width, self.n_ff), "ffn_up": (width, self.n_ff), "ffn_down": (self.n_ff, width)}
            for role, shape in block.items():
                kept = len(shape) == 1 or role == "ffn_gate_inp"
                tensors.append(NewTensor(f"blk.{layer}.{role}.weight", shape, "F32" if kept else tensor_type))
            if self.bias:
                for role, length in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width)):
                    tensors.append(NewTensor(f"blk.{layer}.{role}.bias", (length,), "F32"))
        tensors.append(NewTensor("output_norm.weight", (width,), "F32"))
        if not self.tied:
            tensors.append(NewTensor("output.weight", (width, self.n_vocab), tensor_type))
        return tensors

    def pairs(self, name: str) -> list[KeyValue]:
        arch = self.architecture
        numbers = {
            "context_length": 2048,
            "embedding_length": self.n_embd,
            "block_count": self.n_layer,
            "feed_forward_length": self.n_ff,
            "attention.head_count": self.n_head,
            "attention.head_count_kv": self.n_head_kv,
            "attention.key_length": self.head_size,
            "attention.value_length": self.head_size,
            "rope.dimension_count": self.head_size,
        }
        if self.experts:
            numbers |= {
                "expert_count": self.experts,
                "expert_used_count": min(2, self.experts),
                "expert_feed_forward_length": self.n_ff,
            }
        if arch == "gemma3":
            numbers |= {"attention.sliding_window": 512}
        return [
            string_pair("general.architecture", arch),
            string_pair("general.type", "model"),
            string_pair("general.name", name),
            *(uint32_pair(f"{arch}.{key}", value) for key, value in numbers.items()),
            encode_pair(f"{arch}.attention.layer_norm_rms_epsilon", ValueType.FLOAT32, 1e-6),
            encode_pair(f"{arch}.rope.freq_base", ValueType.FLOAT32, 10000.0),
            uint32_pair("general.file_type", 1),
            uint32_pair("general.quantization_version", 2),
            *self.extra,
        ]


REAL_MODELS: Mapping[str, Shapes] = {
    "qwq-32b": Shapes("qwen2", 64, 5120, 27648, 40, 8, 152064, bias=True),
    "qwen2.5-14b": Shapes("qwen2", 48, 5120, 13824, 40, 8, 152064, bias=True),
    "qwen3-14b": Shapes("qwen3", 40, 5120, 17408, 40, 8, 151936),
    "llama-3.1-8b": Shapes("llama", 32, 4096, 14336, 32, 8, 128256),
    "llama-3.1-70b": Shapes("llama", 80, 8192, 28672, 64, 8, 128256),
    "llama-3.1-405b": Shapes("llama", 126, 16384, 53248, 128, 8, 128256),
    "qwen3-30b-a3b": Shapes("qwen3moe", 48, 2048, 768, 32, 4, 151936, experts=128),
    "qwen3-235b-a22b": Shapes("qwen3moe", 94, 4096, 1536, 64, 4, 151936, experts=128),
}


def tiny_model(
    folder: Path,
    architecture: str = "qwen3",
    *,
    n_layer: int = 4,
    n_embd: int = 256,
    ffn: int = 512,
    n_head: int = 4,
    n_head_kv: int = 2,
    tied: bool = False,
    experts: int = 0,
    tensor_type: str = "F16",
    splits: int = 1,
    seed: int = 0,
    name: str = "tiny",
    tokenizer: bool = True,
    extra: Sequence[KeyValue] = (),
) -> Path:
    """Writes a model of random weights that llama.cpp loads and runs; returns its path, or that of the first split."""
    tokens = vocabulary()
    bias, experts = architecture == "qwen2", experts or (4 if architecture == "qwen3moe" else 0)
    shapes = Shapes(architecture, n_layer, n_embd, ffn, n_head, n_head_kv, len(tokens), tied, bias, experts, extra)
    pairs = shapes.pairs(name) + (tokenizer_pairs(tokens, MERGES) if tokenizer else [])
    return write_model(folder, name, pairs, shapes.tensors(tensor_type), splits=splits, seed=seed)


def write_model(
    folder: Path,
    name: str,
    pairs: Sequence[KeyValue],
    tensors: Sequence[NewTensor],
    *,
    splits: int = 1,
    seed: int = 0,
) -> Path:
    """Writes these tensors with random weights, in one file or several; returns the path, of the first split if so."""
    folder.mkdir(parents=True, exist_ok=True)
    if splits == 1:
        path = folder / f"{name}.gguf"
        write_gguf(path, pairs, tensors, _weights(tensors, seed))
        return path
    size = -(-len(tensors) // splits)
    for number in range(splits):
        part = tensors[number * size : (number + 1) * size]
        own = [
            encode_pair("split.no", ValueType.UINT16, number),
            encode_pair("split.count", ValueType.UINT16, splits),
            encode_pair("split.tensors.count", ValueType.INT32, len(tensors)),
        ]
        data = _weights(part, seed + number)
        write_gguf(split_path(folder, name, number, splits), [*(pairs if number == 0 else []), *own], part, data)
    return split_path(folder, name, 0, splits)


def header_only(folder: Path, model: str, *, n_vocab: int | None = None) -> Path:
    """Writes the header, without data, of a model with the shapes of `REAL_MODELS` and a vocabulary of its size."""
    shapes = REAL_MODELS[model]
    count = n_vocab or shapes.n_vocab
    tokens = [f"t{number:06d}" for number in range(count)]
    merges = [f"a{number % 1000} b{number}" for number in range(count - 700)]
    pairs = shapes.pairs(model) + tokenizer_pairs(tokens, merges)
    path = folder / f"{model}-F16.gguf"
    path.write_bytes(header_bytes(pairs, shapes.tensors("F16")))
    return path


def vocabulary() -> list[str]:
    """Byte-level BPE: the 256 bytes as GPT-2 writes them, what the merges make, and an end token."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + number) for number in range(len(others))]
    return [*letters, *(merge.replace(" ", "") for merge in MERGES), "<|end|>"]


def tokenizer_pairs(tokens: Sequence[str], merges: Sequence[str]) -> list[KeyValue]:
    types = [1] * (len(tokens) - 1) + [3]
    return [
        string_pair("tokenizer.ggml.model", "gpt2"),
        string_pair("tokenizer.ggml.pre", "qwen2"),
        encode_pair("tokenizer.ggml.tokens", ValueType.STRING, tokens),
        encode_pair("tokenizer.ggml.token_type", ValueType.INT32, types),
        encode_pair("tokenizer.ggml.merges", ValueType.STRING, merges),
        uint32_pair("tokenizer.ggml.eos_token_id", len(tokens) - 1),
        encode_pair("tokenizer.ggml.add_bos_token", ValueType.BOOL, False),
    ]


def _weights(tensors: Sequence[NewTensor], seed: int) -> Iterator[list[bytes]]:
    random = np.random.default_rng(seed)
    for tensor in tensors:
        shape = tuple(reversed(tensor.shape))
        if tensor.name.endswith(("norm", "norm.weight")) or tensor.name.startswith("rope_"):
            values = np.ones(shape, np.float32)
        elif tensor.name.endswith(".ssm_a"):  # a state that decays
            values = -random.uniform(0.1, 1.0, shape).astype(np.float32)
        else:
            values = random.standard_normal(shape, np.float32) * np.float32(tensor.shape[0] ** -0.5)
        yield [_encode(values, tensor.tensor_type)]


def _encode(values: np.ndarray, tensor_type: str) -> bytes:
    if tensor_type == "F16":
        return values.astype(np.float16).tobytes()
    if tensor_type == "F32":
        return values.tobytes()
    return quantize(values, GGMLQuantizationType[tensor_type]).tobytes()
