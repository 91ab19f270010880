"""Qwen3 in PyTorch, as small as the K-quants allow: quantizable rows are multiples of 256 values long."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu


@dataclass(frozen=True)
class Shape:
    vocabulary: int
    width: int = 256
    layers: int = 8
    heads: int = 4
    key_value_heads: int = 2
    head_width: int = 64
    feed_forward: int = 768
    context: int = 512
    rope_base: float = 10_000.0
    norm_epsilon: float = 1e-6


class RootMeanSquareNorm(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return nn.functional.rms_norm(hidden.float(), self.weight.shape, self.weight, self.epsilon)


def rotation(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the rotary embedding, each (length, head_width), halves repeated (llama.cpp: NEOX order)."""
    frequencies = shape.rope_base ** (-torch.arange(0, shape.head_width, 2).float() / shape.head_width)
    angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat((-second, first), dim=-1) * sines


class Layer(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        inner, key_value = shape.heads * shape.head_width, shape.key_value_heads * shape.head_width
        self.attention_norm = RootMeanSquareNorm(shape.width, shape.norm_epsilon)
        self.query = nn.Linear(shape.width, inner, bias=False)
        self.key = nn.Linear(shape.width, key_value, bias=False)
        self.value = nn.Linear(shape.width, key_value, bias=False)
        self.query_norm = RootMeanSquareNorm(shape.head_width, shape.norm_epsilon)
        self.key_norm = RootMeanSquareNorm(shape.head_width, shape.norm_epsilon)
        self.attention_output = nn.Linear(inner, shape.width, bias=False)
        self.feed_forward_norm = RootMeanSquareNorm(shape.width, shape.norm_epsilon)
        self.gate = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.up = nn.Linear(shape.width, shape.feed_forward, bias=False)
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def attend(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        batch, length, _ = hidden.shape
        shape = self.shape

        def split(projected: Tensor, heads: int) -> Tensor:
            return projected.view(batch, length, heads, shape.head_width).transpose(1, 2)

        query = rotate(self.query_norm(split(self.query(hidden), shape.heads)), cosines, sines)
        key = rotate(self.key_norm(split(self.key(hidden), shape.key_value_heads)), cosines, sines)
        value = split(self.value(hidden), shape.key_value_heads)
        group = shape.heads // shape.key_value_heads
        key, value = key.repeat_interleave(group, dim=1), value.repeat_interleave(group, dim=1)
        attended = scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value, is_causal=True)
        return self.attention_output(attended.transpose(1, 2).reshape(batch, length, -1))

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        hidden = hidden + self.attend(self.attention_norm(hidden), cosines, sines)
        normed = self.feed_forward_norm(hidden)
        return hidden + self.down(silu(self.gate(normed)) * self.up(normed))


class Model(nn.Module):
    """Token ids (batch, length) to logits (batch, length, vocabulary)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Embedding(shape.vocabulary, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.output_norm = RootMeanSquareNorm(shape.width, shape.norm_epsilon)
        self.output = nn.Linear(shape.width, shape.vocabulary, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                narrow = name.endswith(("attention_output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * shape.layers) ** 0.5 if narrow else 0.04)

    def forward(self, tokens: Tensor) -> Tensor:
        cosines, sines = rotation(self.shape, tokens.shape[1])
        hidden = self.embedding(tokens)
        for layer in self.layers:
            hidden = layer(hidden, cosines, sines)
        return self.output(self.output_norm(hidden))
