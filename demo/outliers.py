"""Outlier weights: a few large input channels per matrix, as large models have them, at no change of the function.

In large language models some weights are many times larger than their neighbours. A block of a K-quant shares one
scale, so one such weight makes the rounding of all others in its block coarse: this is much of what low bit widths
cost. A model trained for an hour has no such weights yet. Here a few channels are made ``2 ** k`` times smaller where
they are written and the weights that read them ``2 ** k`` times larger. Powers of two change no mantissa: the
unquantized model computes what it did.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

SHARE = 0.05
LARGEST_EXPONENT = 3
Weights = dict[str, NDArray[np.float32]]


def channel_scales(name: str, channels: int, seed: int) -> NDArray[np.float32]:
    """(channels,) of ones, but ``2 ** -k`` with k in 1..3 at a few of them, drawn for the channels' ``name``."""
    source = np.random.default_rng([seed, zlib.crc32(name.encode())])
    scales = np.ones(channels, dtype=np.float32)
    chosen = source.choice(channels, round(SHARE * channels), replace=False)
    scales[chosen] = 2.0 ** -source.integers(1, LARGEST_EXPONENT + 1, len(chosen))
    return scales


def add_outliers(weights: Weights, layers: int, head_width: int, seed: int) -> None:
    """Scale channels in place: ``weights`` by GGUF name, matrices (output, input), norms (channels,).

    Scaled are the normed hidden state before attention, feed-forward and output (written by the norm's gain), the
    values of each head (read by attn_output) and the inner channels of the feed-forward (read by ffn_down).
    """
    readers = {"output_norm": ["output"]}
    for layer in range(layers):
        block = f"blk.{layer}"
        readers[f"{block}.attn_norm"] = [f"{block}.attn_{part}" for part in "qkv"]
        readers[f"{block}.ffn_norm"] = [f"{block}.ffn_gate", f"{block}.ffn_up"]
        readers[f"{block}.attn_v"] = [f"{block}.attn_output"]
        readers[f"{block}.ffn_up"] = [f"{block}.ffn_down"]
    for writer, matrices in readers.items():
        written = weights[f"{writer}.weight"]
        scales = channel_scales(writer, len(written), seed)
        written *= scales if written.ndim == 1 else scales[:, None]
        for matrix in matrices:
            read = weights[f"{matrix}.weight"]
            if len(scales) != read.shape[1]:  # grouped heads: each key-value head is read by several query heads
                group = read.shape[1] // len(scales)
                read /= scales.reshape(-1, 1, head_width).repeat(group, axis=1).reshape(-1)
            else:
                read /= scales
